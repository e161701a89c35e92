"""The survey's worker: examines every item of a unit without decoding it in full.

Every file is read once for its SHA-256, which becomes the document's identity; the item's kind finds the rest
(`pipeline.kinds`). An item that cannot be used is rejected with its reason. The signatures of a unit are written before
its rows, and only the rows count as the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.filters.scores import load_scores
from pipeline.kinds.kind import Samples, Surveyed
from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import is_stopping, raise_if_stopping
from pipeline.runtime.progress import KEPT, MADE, REJECTED, note
from pipeline.runtime.workspace import Workspace, read_manifest_unit, read_table_unit, write_table_unit
from pipeline.sources.captions import read_caption
from pipeline.sources.inputs import local_file, stat
from pipeline.survey.config import SurveyConfig
from pipeline.survey.table import read_reusable
from pipeline.survey.tools import SurveyTools
from pipeline.text.books import BookConfig
from pipeline.text.options import TextOptions
from pipeline.text.qa import QaConfig
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import InputError, Reason
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import SIGNATURES
from schemas.rows import ManifestItem, SignatureRow, SurveyRow, signature_rows, signature_table, survey_table

_VERSION = 5  # increment when the same input gives another row
_MAX_TRANSCRIPT_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class SurveyWorker:
    """Surveys units of the manifest, with one decoder for all of them."""

    workspace: Workspace
    config: SurveyConfig
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
    retry: bool = False  # survey rejected items again

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Start the decoder and load the scores; see pipeline.runtime.beam.Worker."""
        scores = load_scores(self.config.scores)
        with Decoder(self.decode) as decoder:
            tools = dataclasses.replace(self._tools, decoder=decoder, scores=scores)
            yield lambda unit: self._survey_unit(unit, tools)

    @property
    def _tools(self) -> SurveyTools:
        return SurveyTools(config=self.config, text=TextOptions(books=self.books, qa=self.qa))

    def fingerprint(self, item: ManifestItem) -> str:
        """Return a hash of everything an item's row depends on, without reading the file: only its size and version."""
        if item.reason:
            return fingerprint(_VERSION, item)
        versions = [uri and _version(uri) for uri in (item.uri, item.caption_file, item.sidecar)]
        settings = kind_of(item.kind).survey_fingerprint(self._tools)
        return fingerprint(_VERSION, item, versions, settings, self._max_bytes(item))

    def _survey_unit(self, unit: int, tools: SurveyTools) -> None:
        known = read_reusable(self.workspace, unit)
        stored = signature_rows(read_table_unit(self.workspace.signatures, unit, SIGNATURES))
        known_signatures = {row.content_id: row for row in stored}
        rows: list[SurveyRow] = []
        signatures: dict[str, SignatureRow] = {}
        for item in read_manifest_unit(self.workspace, unit):
            key, row = self.fingerprint(item), known.get(item.uri)
            if row is not None and row.fingerprint == key and not (self.retry and row.reason):
                signature, outcome = known_signatures.get(row.content_id or ""), KEPT
            elif is_stopping():
                continue
            else:
                row, signature = self._survey_item(item, key, tools)
                outcome = MADE
            rows.append(row)
            if signature is not None:
                signatures.setdefault(signature.content_id, signature)
            note(self.workspace.log("survey"), REJECTED if row.reason else outcome, uri=row.uri, reason=row.reason)
        ordered = [signatures[name] for name in sorted(signatures)]
        write_table_unit(self.workspace.signatures, unit, signature_table(ordered))
        write_table_unit(self.workspace.survey, unit, survey_table(rows))
        raise_if_stopping()

    def _survey_item(self, item: ManifestItem, key: str, tools: SurveyTools) -> tuple[SurveyRow, SignatureRow | None]:
        row = SurveyRow.of(item, fingerprint=key)
        if row.reason:  # its row of the manifest is invalid
            return row, None
        try:
            with local_file(item.uri, max_bytes=self._max_bytes(item)) as path, _unchanged(path):
                row = _with_file(row, path)
                found = kind_of(item.kind).survey(path, tools)
                row = _with_findings(row, found)
            row = _with_sidecars(row)
        except InputError as e:
            return _rejected(row, e.reason, str(e)), None
        except OSError as e:
            return _rejected(row, Reason.UNREADABLE, f"{item.uri}: {e}"), None
        return row, _signature(row, found.signature) if found.signature else None

    def _max_bytes(self, item: ManifestItem) -> int:
        limit = kind_of(item.kind).max_bytes(self._tools.text)
        return self.config.max_bytes if limit is None else min(self.config.max_bytes, limit)


def _with_file(row: SurveyRow, path: Path) -> SurveyRow:
    size = path.stat().st_size
    if size == 0:
        raise InputError(Reason.EMPTY, "the file is empty")
    sha256 = sha256_file(path)
    return dataclasses.replace(row, size_bytes=size, document_id=sha256, content_id=sha256)


def _with_findings(row: SurveyRow, found: Surveyed) -> SurveyRow:
    return dataclasses.replace(
        row,
        content_id=found.content_id or row.content_id,
        container=found.container,
        visual=found.visual,
        text=found.text,
        measures=found.measures,
        cuts=found.cuts,
    )


def _with_sidecars(row: SurveyRow) -> SurveyRow:
    if row.caption_file:
        caption = read_caption(row.caption_file)
        found = {"captions": (*row.captions, caption)} if caption else {"detail": f"{row.caption_file} is empty"}
        row = dataclasses.replace(row, **found)
    if row.sidecar:
        row = dataclasses.replace(row, transcript_sha256=_hash_transcript(row.sidecar))
    return row


def _rejected(row: SurveyRow, reason: Reason, detail: str) -> SurveyRow:
    if reason is Reason.CHANGED:  # hashed while it was written to: the hash is of no file
        row = dataclasses.replace(row, document_id=None, content_id=None)
    return dataclasses.replace(row, reason=reason.value, detail=detail)


def _signature(row: SurveyRow, found: Samples) -> SignatureRow:
    assert row.content_id is not None  # of a row that is not rejected
    return SignatureRow(
        content_id=row.content_id,
        kind=row.kind,
        starts=found.starts,
        lengths=found.lengths,
        samples=found.samples,
        thumbnail=found.thumbnail,
    )


@contextmanager
def _unchanged(path: Path) -> Iterator[None]:
    """Raise InputError CHANGED if a file is modified while the body reads it, whatever else the body raises."""
    before, error = stat(str(path)), None
    try:
        yield
    except InputError as e:
        error = e
    if stat(str(path)) != before:
        message = f"{path} was modified while it was read; survey it again when it is complete"
        raise InputError(Reason.CHANGED, message) from error
    if error is not None:
        raise error


def _version(uri: str) -> tuple[int, str]:
    try:
        return stat(uri)
    except InputError:
        return -1, "missing"


def _hash_transcript(uri: str) -> str:
    try:
        with local_file(uri, max_bytes=_MAX_TRANSCRIPT_BYTES) as path:
            return sha256_file(path)
    except (InputError, OSError) as e:
        raise InputError(Reason.BAD_TRANSCRIPT, f"transcript {uri}: {e}") from e
