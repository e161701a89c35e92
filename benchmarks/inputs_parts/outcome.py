"""What a run of `longreel run` made of the files of a case, read from its tables and its token store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.runtime.token_store import StoreFacts, TokenStore
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.tokenize.interleave import VisionSegment, parse_document
from schemas.records import SURVEY
from schemas.rows import DocumentRow, SurveyRow, document_rows, survey_rows
from tokenizer.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Item:
    """One item, and why it is rejected: by the survey, the selection or tokenization."""

    row: SurveyRow
    reason: str | None
    detail: str | None


class Run:
    """All items and documents of a workspace by URI."""

    def __init__(self, root: Path, text_tokenizer: Path) -> None:
        workspace = Workspace.existing(root)
        self._text_tokenizer = text_tokenizer
        self._store = TokenStore(workspace.tokens)
        self._vocabulary = StoreFacts.read(workspace.tokens).vocabulary
        self.surveyed = {row.uri: row for row in survey_rows(read_units(workspace.survey, SURVEY))}
        self.selected = {row.uri: row for row in survey_rows(read_units(workspace.selection, SURVEY))}
        self.documents = {row.uri: row for row in document_rows(self._store.rows())}

    @cached_property
    def _text(self) -> TextTokenizer:
        return TextTokenizer.load(self._text_tokenizer)

    def item(self, uri: str) -> Item | None:
        """Return an item, None if it is not listed."""
        row = self.surveyed.get(uri)
        if row is None:
            return None
        judged = (row, self.selected.get(uri), self.documents.get(uri))
        found = next((each for each in judged if each is not None and each.reason), None)
        return Item(self.selected.get(uri, row), found and found.reason, found and found.detail)

    def parts(self, uri: str) -> list[str | int]:
        """Return the texts of a document and the numbers of frames between them, in order."""
        row = self.documents[uri]
        tokens = self._store.read(row.unit, row.batch, row.row)
        segments = parse_document(tokens, vocabulary=self._vocabulary, frame_tokens=row.frame_tokens)
        return [len(s.codes) if isinstance(s, VisionSegment) else self._text.decode(s.ids) for s in segments]


@dataclass(frozen=True)
class Outcome:
    """The part of a run that belongs to the folder of one case."""

    run: Run
    folder: Path

    def item(self, name: str) -> Item | None:
        """Return what became of a file."""
        return self.run.item(self._uri(name))

    def row(self, name: str) -> SurveyRow:
        """Return the survey row of a file that is kept."""
        return self.run.surveyed[self._uri(name)]

    def parts(self, name: str) -> list[str | int]:
        """Return the texts of a file's document and the numbers of frames between them."""
        return self.run.parts(self._uri(name))

    def text(self, name: str) -> str:
        """Return all text of a file's document."""
        return "\n".join(part for part in self.parts(name) if isinstance(part, str))

    def frames(self, name: str) -> tuple[int, int]:
        """Return the number of frames of a file's document, and how many its container promises."""
        document: DocumentRow = self.run.documents[self._uri(name)]
        return document.frames, document.frames_promised

    def _uri(self, name: str) -> str:
        """Return the address of a file, or of the n-th row of a table for `TABLE#n`, counted from 0."""
        table, _, number = name.partition("#")
        if not number:
            uri = str(self.folder / name)
            # A name that is not UTF-8 is listed percent-encoded.
            return next((u for u in (uri, f"file://{uri}") if u in self.run.surveyed), uri)
        rows = sorted(uri for uri in self.run.surveyed if uri.startswith(f"{self.folder / table}#"))
        return rows[int(number)] if int(number) < len(rows) else name
