"""The worker of tokenize: turns the selected items of a unit into tokens, each once.

Decoding and encoding happen in one call: frames go from the decoder's shared memory to the VQGAN in batches, codes and
text are interleaved into documents, and the unit's file is replaced when its documents are complete. All documents of
an item are in its unit, and are computed or reused together. Cost: the encoder's; the codes of one item and one batch
of frames are in memory.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.block_list import BlockList
from pipeline.kinds.kind import TokenizedDocument
from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import is_stopping, item_limit, raise_if_stopping
from pipeline.runtime.journal import MADE, REJECTED, WORKING, note, note_defect
from pipeline.runtime.token_store import StoredDocument, TokenStore, read_unit, shared_file, write_unit
from pipeline.runtime.units import read_rows, unit_name
from pipeline.runtime.workspace import Workspace, usable
from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.inputs import local_file, require_same
from pipeline.text.options import TextOptions
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.tools import TokenizeTools
from pipeline.video.decoder import Decoder
from schemas.errors import TEMPORARY, DatasetError, InputError, Interrupted, Reason
from schemas.fingerprint import fingerprint
from schemas.record_errors import record_errors
from schemas.records import SURVEY, clip_id, item_of
from schemas.rows import Crop, DocumentRow, SurveyRow, survey_rows
from schemas.storage.location import Location
from schemas.vocab import Vocabulary
from tokenizer.text.tokenizer import TextTokenizer

_VERSION = 1  # increment when the same input gives other tokens
_COMMIT_EVERY_S = 300.0  # a killed worker loses at most this much work


@dataclass(frozen=True)
class _Header:
    """What the rows of an item's documents have from the selection, and their fingerprint."""

    fingerprint: str
    kind: str
    split: str
    uri: str
    title: str | None
    source: str | None
    license: str | None

    @classmethod
    def of(cls, row: SurveyRow, config: TokenizeConfig, vocabulary: Vocabulary, block_list: BlockList) -> _Header:
        blocked = block_list.with_hash(row.document_id, row.content_id)
        key = fingerprint(blocked.takedown) if blocked else document_fingerprint(row, config, vocabulary)
        assert row.split is not None  # of a selected item
        return cls(key, row.kind, row.split, row.uri, row.title, row.source, row.license)

    def matches(self, row: DocumentRow) -> bool:
        return all(getattr(row, f.name) == getattr(self, f.name) for f in dataclasses.fields(self))

    def applied_to(self, row: DocumentRow) -> DocumentRow:
        return dataclasses.replace(row, **vars(self))


def document_fingerprint(row: SurveyRow, config: TokenizeConfig, vocabulary: Vocabulary) -> str:
    """Return a hash of everything that the tokens of an item depend on, and nothing else."""
    content = (row.document_id, row.kind, row.captions, row.transcript_sha256)
    return fingerprint(_VERSION, content, vocabulary, kind_of(row.kind).token_fingerprint(row, config))


@dataclass(frozen=True, kw_only=True)
class TokenizeWorker:
    """Tokenizes units of the selection."""

    workspace: Workspace
    config: TokenizeConfig
    text_tokenizer: Location
    access: AccessConfig = STRICT
    retry: bool = False  # tokenize rejected items again

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Start the decoder and load both tokenizers; see pipeline.runtime.beam.Worker."""
        with Decoder(self.config.decode) as decoder:
            tools = TokenizeTools(decoder, TextTokenizer.load(self.text_tokenizer), self.config, self.access)
            yield lambda unit: self._tokenize_unit(unit, tools)

    def _tokenize_unit(self, unit: int, tools: TokenizeTools) -> None:
        wanted = read_selected(self.workspace, unit)
        done, retry = False, self.retry
        while not done:  # every pass reuses the work of the previous one and adds what its time allows
            work = _Pass(self, tools, unit, retry=retry)
            write_unit(self.workspace.tokens, unit, work.documents(wanted), tools.vocabulary.dtype)
            raise_if_stopping()
            done, retry = work.complete, False


def read_selected(workspace: Workspace, unit: int) -> list[SurveyRow]:
    """Return the items of a unit that select kept; raises DatasetError if the unit is damaged."""
    path = workspace.selection / f"{unit_name(unit)}.parquet"
    return survey_rows(usable(read_rows(path, SURVEY))) if path.exists() else []


class _Pass:
    """One pass over the documents of a unit: stored ones are copied, others computed until the deadline."""

    def __init__(self, worker: TokenizeWorker, tools: TokenizeTools, unit: int, *, retry: bool) -> None:
        self.complete = True
        self._worker, self._tools, self._retry = worker, tools, retry
        self._deadline: float | None = None  # set by the first document computed, so that every pass computes one
        tokens = worker.workspace.tokens
        self._store = TokenStore(tokens)
        self._known = _intact_by_item(self._store, tokens, unit)
        self._block_list = BlockList.read(worker.workspace)

    def documents(self, wanted: Sequence[SurveyRow]) -> Iterator[StoredDocument]:
        """Yield the rows and tokens of the unit."""
        config, vocabulary = self._worker.config, self._tools.vocabulary
        for selected in wanted:
            header = _Header.of(selected, config, vocabulary, self._block_list)
            known = self._known.get(selected.identity)
            if known and _is_current(known[0], header.fingerprint, retry=self._retry):
                yield from (StoredDocument(header.applied_to(row), self._read(row)) for row in known)
            elif is_stopping() or (self._deadline and time.monotonic() > self._deadline):
                self.complete = False
            else:
                self._deadline = self._deadline or time.monotonic() + _COMMIT_EVERY_S
                try:
                    yield from self._tokenize(selected, header)
                except Interrupted:
                    self.complete = False

    def _read(self, row: DocumentRow) -> NDArray[Any]:
        if row.reason:
            return np.zeros(0, self._tools.vocabulary.dtype)
        return self._store.read(row.unit, row.batch, row.row)

    def _tokenize(self, selected: SurveyRow, header: _Header) -> list[StoredDocument]:
        started = time.monotonic()
        empty = DocumentRow(document_id=selected.identity, **vars(header))
        try:
            with record_errors(selected.uri):
                made = [_stored(empty, document) for document in self._tokenize_file(selected)]
        except InputError as e:
            note_defect(e)
            rejected = dataclasses.replace(empty, reason=e.reason.value, detail=e.detail)
            made = [StoredDocument(rejected, np.zeros(0, self._tools.vocabulary.dtype))]
        reason = made[0].row.reason
        note(
            REJECTED if reason else MADE,
            uri=selected.uri,
            reason=reason,
            documents=len(made),
            frames=sum(document.row.frames for document in made),
            tokens=sum(len(document.tokens) for document in made),
            video_seconds=selected.duration_s,
            seconds=round(time.monotonic() - started, 3),
        )
        return made

    def _report(self, uri: str, seconds: float) -> None:
        note(WORKING, uri=uri, seconds=round(seconds))

    def _tokenize_file(self, row: SurveyRow) -> list[TokenizedDocument]:
        """Return the documents of a selected item, at least one; raises InputError."""
        if blocked := self._block_list.with_hash(row.document_id, row.content_id):
            # of a selection that was restored from a backup
            raise InputError(Reason.TAKEN_DOWN, f"taken down; see takedown/receipts/{blocked.takedown}.json")
        kind, config = kind_of(row.kind), self._tools.config
        seconds = kind.time_limit_s(TextOptions(books=config.books, qa=config.qa))
        limit = item_limit(seconds, report=partial(self._report, row.uri))
        access = self._worker.access
        # The survey enforced the limit of bytes.
        with limit, local_file(row.uri, max_bytes=sys.maxsize, access=access) as path:
            require_same(path, row.document_id, row.uri)
            return kind.tokenize(path, row, self._tools)


def _stored(empty: DocumentRow, made: TokenizedDocument) -> StoredDocument:
    item = empty.document_id
    row = dataclasses.replace(
        empty,
        document_id=item if made.clip_number is None else clip_id(item, made.clip_number),
        frame_tokens=made.document.frame_tokens,
        frames=made.frames,
        frames_promised=made.frames_promised,
        cues=made.cues,
        cues_outside=made.cues_outside,
        clip=made.clip,
        shots=made.shots,
        crop=made.crop and Crop(*made.crop),
        spans=tuple(made.document.spans),
        detail=made.detail,
    )
    return StoredDocument(row, made.document.tokens)


def _intact_by_item(store: TokenStore, tokens: Location, unit: int) -> dict[str, list[DocumentRow]]:
    """Return the stored rows of a unit by item; none if its tokens are damaged, so that they are computed again."""
    try:
        store.check(unit)
    except DatasetError:
        return {}
    return _by_item(tokens, unit)


def _by_item(tokens: Location, unit: int) -> dict[str, list[DocumentRow]]:
    """Return the stored rows of a unit by the item they were made of; a unit has all documents of an item or none."""
    items: dict[str, list[DocumentRow]] = {}
    for row in read_unit(tokens, unit):
        items.setdefault(item_of(row.document_id), []).append(row)
    return items


def _is_current(known: DocumentRow, key: str, *, retry: bool) -> bool:
    """Return whether a stored row can be reused. A file that could not be read may be back by now."""
    return known.fingerprint == key and known.reason not in TEMPORARY and not (retry and known.reason)


def items_to_tokenize(worker: TokenizeWorker, unit: int, vocabulary: Vocabulary) -> int | None:
    """Return the number of items of a unit that have to be computed, None if its files are up to date."""
    known = _by_item(worker.workspace.tokens, unit)
    selected = read_selected(worker.workspace, unit)
    block_list = BlockList.read(worker.workspace)
    wanted = {row.identity: _Header.of(row, worker.config, vocabulary, block_list) for row in selected}
    missing = [
        item
        for item, header in wanted.items()
        if item not in known or not _is_current(known[item][0], header.fingerprint, retry=worker.retry)
    ]
    is_current = (
        wanted.keys() == known.keys()
        and not shared_file(worker.workspace.tokens, unit)
        and all(header.matches(row) for item, header in wanted.items() for row in known[item])
    )
    return None if is_current and not missing else len(missing)
