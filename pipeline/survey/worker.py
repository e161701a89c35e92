"""The survey's worker: examines every item of a unit without decoding it in full.

Every file is read once for its SHA-256, which becomes the document's identity; the item's kind finds the rest
(`pipeline.kinds`). An item that cannot be used is rejected with its reason. The signatures of a unit are written before
its rows, and only the rows count as the result. An absent item, and a known one that cannot be read now, keep their
rows (`pipeline.survey.absence`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline.dedup.block_list import BlockList
from pipeline.filters.scores import load_scores
from pipeline.kinds.kind import Samples, Surveyed
from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import is_stopping, item_limit, raise_if_stopping
from pipeline.runtime.journal import KEPT, MADE, REJECTED, WORKING, note, note_defect
from pipeline.runtime.manifest_file import read_manifest_unit
from pipeline.runtime.workspace import Workspace, read_table_unit, write_table_unit
from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.captions import read_caption
from pipeline.sources.inputs import Stat, hash_input, local_file, stat
from pipeline.survey.config import SurveyConfig
from pipeline.survey.table import read_reusable, read_survey_unit
from pipeline.survey.taken_down import listed_fingerprint, taken_down_row
from pipeline.survey.tools import SurveyTools
from pipeline.text.books import BookConfig
from pipeline.text.options import TextOptions
from pipeline.text.qa import QaConfig
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import TEMPORARY, InputError, Interrupted, Reason
from schemas.fingerprint import fingerprint
from schemas.record_errors import record_errors
from schemas.records import SIGNATURES
from schemas.rows import ManifestItem, SignatureRow, SurveyRow, signature_rows, signature_table, survey_table

_VERSION = 9  # increment when the same input gives another row
_OWN_REASONS = (Reason.UNREACHABLE, Reason.NOT_ALLOWED, Reason.FAILED)  # not of the transcript's content
_MAX_TRANSCRIPT_BYTES = 1 << 30


class _Result(NamedTuple):
    """The row of an item, its signature, and whether it was MADE or KEPT."""

    row: SurveyRow
    signature: SignatureRow | None
    outcome: str


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What earlier runs found about the items of a unit."""

    rows: Mapping[str, SurveyRow]  # by address
    reusable: Collection[str]  # addresses of the rows whose signature is there
    signatures: Mapping[str, SignatureRow]  # by content
    absent: Collection[str]  # addresses

    @classmethod
    def read(cls, workspace: Workspace, unit: int, absent: Collection[str]) -> _Known:
        stored = signature_rows(read_table_unit(workspace.signatures, unit, SIGNATURES))
        return cls(
            rows={row.uri: row for row in read_survey_unit(workspace, unit)},
            reusable=read_reusable(workspace, unit).keys(),
            signatures={row.content_id: row for row in stored},
            absent=absent,
        )

    def is_reusable(self, row: SurveyRow) -> bool:
        return row.uri in self.reusable

    def signature(self, row: SurveyRow) -> SignatureRow | None:
        return self.signatures.get(row.content_id or "")


@dataclass(frozen=True, kw_only=True)
class SurveyWorker:
    """Surveys units of the manifest, with one decoder for all of them."""

    workspace: Workspace
    config: SurveyConfig
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
    access: AccessConfig = STRICT
    retry: bool = False  # survey rejected items again
    prune: bool = False  # reject known items whose files are missing

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Start the decoder and load the scores; see pipeline.runtime.beam.Worker."""
        scores = load_scores(self.config.scores)
        with Decoder(self.decode) as decoder:
            block_list = BlockList.read(self.workspace)
            tools = dataclasses.replace(self._tools, decoder=decoder, scores=scores, block_list=block_list)
            yield lambda unit: self._survey_unit(unit, tools)

    @property
    def _tools(self) -> SurveyTools:
        return SurveyTools(config=self.config, text=TextOptions(books=self.books, qa=self.qa))

    def versions(self, item: ManifestItem) -> list[Stat | None]:
        """Return size and version of the file, caption and transcript; raises InputError if one cannot be read."""
        return [stat(uri, self.access) if uri else None for uri in (item.uri, item.caption_file, item.sidecar)]

    def fingerprint(self, item: ManifestItem, state: Sequence[Stat | None] | Reason | None = None) -> str:
        """Return a hash of everything an item's row depends on, without reading the file: only its size and version.

        `state` is the result of `versions`, or why the file cannot be read; None: to be found out. The hash of an item
        that cannot be read differs from that of one that can, so that it is surveyed again when it can be read.
        """
        if item.reason:
            return listed_fingerprint(item)
        try:
            state = state or self.versions(item)
        except InputError as e:
            state = e.reason
        settings = kind_of(item.kind).survey_fingerprint(self._tools)
        return fingerprint(_VERSION, item, state, settings, self._max_bytes(item))

    def _survey_unit(self, unit: int, tools: SurveyTools) -> None:
        listed = read_manifest_unit(self.workspace, unit)
        known = _Known.read(self.workspace, unit, listed.absent.keys())
        rows: list[SurveyRow] = []
        signatures: dict[str, SignatureRow] = {}
        for item in listed.items:
            if (result := self._result(item, known, tools)) is None:
                continue
            row, signature, outcome = result
            rows.append(row)
            if signature is not None:
                signatures.setdefault(signature.content_id, signature)
            note(REJECTED if row.reason else outcome, uri=row.uri, reason=row.reason, video_seconds=row.duration_s)
        ordered = [signatures[name] for name in sorted(signatures)]
        write_table_unit(self.workspace.signatures, unit, signature_table(ordered))
        write_table_unit(self.workspace.survey, unit, survey_table(rows))
        raise_if_stopping()

    def _result(self, item: ManifestItem, known: _Known, tools: SurveyTools) -> _Result | None:
        """Return an item's row: a known one if it is up to date or cannot be replaced now; None if the run stops."""
        row = known.rows.get(item.uri)
        kept = _Result(row, known.signature(row), KEPT) if row else None
        if kept and item.uri in known.absent:
            return kept._replace(row=kept.row.with_item(item))
        key = self.fingerprint(item)
        if (
            kept
            and known.is_reusable(kept.row)
            and kept.row.fingerprint == key
            and not (self.retry and kept.row.reason)
        ):
            return kept
        if is_stopping():
            return kept  # its fingerprint tells the next run to survey it again
        try:
            made, signature = self._survey_item(item, key, tools)
        except Interrupted:
            return kept
        is_deleted = self.prune and made.reason == Reason.MISSING
        if kept and not kept.row.reason and made.reason in TEMPORARY and not is_deleted:
            return kept  # absence is not deletion, see pipeline.survey.absence
        return _Result(made, signature, MADE)

    def _survey_item(self, item: ManifestItem, key: str, tools: SurveyTools) -> tuple[SurveyRow, SignatureRow | None]:
        row = SurveyRow.of(item, fingerprint=key)
        if row.reason:  # found when it was listed
            return row, None
        try:
            kind = kind_of(item.kind)
            limit = item_limit(kind.time_limit_s(tools.text), report=partial(_note_working, item.uri))
            with limit, record_errors(item.uri):
                with _opened(item.uri, self._max_bytes(item), self.access) as path:
                    row = _with_file(row, path)
                    if blocked := tools.block_list.with_hash(row.document_id):
                        return taken_down_row(row, blocked.takedown), None
                    found = kind.survey(path, tools)
                    row = _with_findings(row, found)
                row = _with_sidecars(row, self.access)
        except InputError as e:
            note_defect(e)
            if e.reason in TEMPORARY:
                row = dataclasses.replace(row, fingerprint=self.fingerprint(item, e.reason))
            return _rejected(row, e), None
        signature = _signature(row, found.signature) if found.signature else None
        if blocked := tools.block_list.with_hash(row.content_id) or tools.block_list.like(signature):
            return taken_down_row(row, blocked.takedown), None
        return row, signature

    def _max_bytes(self, item: ManifestItem) -> int:
        limit = kind_of(item.kind).max_bytes(self._tools.text)
        return self.config.max_bytes if limit is None else min(self.config.max_bytes, limit)


def _note_working(uri: str, seconds: float) -> None:
    note(WORKING, uri=uri, seconds=round(seconds))


def _with_file(row: SurveyRow, path: Path) -> SurveyRow:
    size = path.stat().st_size
    if size == 0:
        raise InputError(Reason.EMPTY, "the file is empty")
    sha256 = hash_input(path, row.uri)
    return dataclasses.replace(row, size_bytes=size, document_id=sha256, content_id=sha256)


def _with_findings(row: SurveyRow, found: Surveyed) -> SurveyRow:
    return dataclasses.replace(
        row,
        kind=found.kind or row.kind,
        content_id=found.content_id or row.content_id,
        container=found.container,
        visual=found.visual,
        text=found.text,
        measures=found.measures,
        cuts=found.cuts,
    )


def _with_sidecars(row: SurveyRow, access: AccessConfig) -> SurveyRow:
    if row.caption_file:
        caption = read_caption(row.caption_file, access)
        found = {"captions": (*row.captions, caption)} if caption else {"detail": f"{row.caption_file} is empty"}
        row = dataclasses.replace(row, **found)
    if row.sidecar:
        row = dataclasses.replace(row, transcript_sha256=_hash_transcript(row.sidecar, access))
    return row


def _rejected(row: SurveyRow, error: InputError) -> SurveyRow:
    if error.reason is Reason.CHANGED:  # hashed while it was written to: the hash is of no file
        row = dataclasses.replace(row, document_id=None, content_id=None)
    return dataclasses.replace(row, reason=error.reason.value, detail=error.detail)


def _signature(row: SurveyRow, found: Samples) -> SignatureRow:
    assert row.content_id is not None  # of a row that is not rejected
    return SignatureRow(
        content_id=row.content_id,
        kind=row.kind,
        starts=found.starts,
        lengths=found.lengths,
        samples=found.samples,
        activity=found.activity,
        thumbnail=found.thumbnail,
    )


@contextmanager
def _opened(uri: str, max_bytes: int, access: AccessConfig) -> Iterator[Path]:
    """Yield a local path to the content of `uri`; raises InputError CHANGED if it is modified meanwhile."""
    with local_file(uri, max_bytes=max_bytes, access=access) as path, _unchanged(path, uri):
        yield path


@contextmanager
def _unchanged(path: Path, uri: str) -> Iterator[None]:
    """Raise InputError CHANGED if a file is modified while the body reads it, whatever else the body raises."""
    before, error = stat(str(path)), None
    try:
        with record_errors(uri):
            yield
    except InputError as e:
        error = e
    if stat(str(path)) != before:
        message = f"{path} was modified while it was read; survey it again when it is complete"
        raise InputError(Reason.CHANGED, message) from error
    if error is not None:
        raise error


def _hash_transcript(uri: str, access: AccessConfig) -> str:
    try:
        with record_errors(uri), local_file(uri, max_bytes=_MAX_TRANSCRIPT_BYTES, access=access) as path:
            return hash_input(path, uri)
    except InputError as e:
        reason = e.reason if e.reason in _OWN_REASONS else Reason.BAD_TRANSCRIPT
        raise InputError(reason, f"transcript {uri}: {e}") from e
