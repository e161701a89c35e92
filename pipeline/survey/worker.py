"""Survey: a cheap look at every item, before anything is decoded in full.

The file's SHA-256 (one read of it; it becomes the document's identity), and by kind: of a video or image what the
container says, what a look at some frames tells, and a signature (pipeline/video/analysis/frame_schedule.py); scores
where they are asked for; of a book all that follows from its clean text (pipeline/survey/book_worker.py). What cannot
be read is set aside here, with its reason.

A unit's signatures are written before its rows: the rows are what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.filters.scores import Score, load_scores, rate, versions_of
from pipeline.runtime.interrupt import is_stopping, raise_if_stopping
from pipeline.runtime.progress import KEPT, MADE, REJECTED, note
from pipeline.runtime.units import unit_name
from pipeline.runtime.workspace import Workspace, read_manifest_unit, read_table_unit, write_table_unit
from pipeline.sources.inputs import local_file, stat
from pipeline.survey.book_worker import BookLook, book_fingerprint, survey_book
from pipeline.survey.config import SurveyConfig
from pipeline.survey.table import read_survey_unit
from pipeline.text.books import BookConfig
from pipeline.text.qa import QaConfig, read_turns
from pipeline.video.analysis.frame_signature import VERSION as SIGNATURE_VERSION
from pipeline.video.decoder import AnalysisConfig, DecodeConfig, Decoder
from schemas.errors import InputError, Reason
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import SIGNATURES, SURVEY

_VERSION = 3  # counts up when the same input would give another row
_EMPTY = dict.fromkeys(SURVEY.names)
_SIGNED = {"video", "image", "book"}  # kinds that have a signature


class Found(NamedTuple):
    """What a look at an item gives: columns of its row, and its signature without content_id and kind."""

    columns: dict[str, Any]
    signature: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class SurveyWorker:
    """Surveys units of the manifest, with one decoder for all of them."""

    workspace: Workspace
    config: SurveyConfig
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
    retry: bool = False  # look again at items that an earlier run set aside

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Start the decoder and load the scores; see pipeline.runtime.beam.Worker."""
        scores = load_scores(self.config.scores)
        with Decoder(self.decode) as decoder:
            yield lambda unit: self._survey_unit(unit, decoder, scores)

    def _survey_unit(self, unit: int, decoder: Decoder, scores: Sequence[Score]) -> None:
        known = read_known(self.workspace, unit)
        signed = {row["content_id"]: row for row in self._signatures(unit)}
        rows: list[dict[str, Any]] = []
        signatures: dict[str, dict[str, Any]] = {}
        for item in read_manifest_unit(self.workspace, unit).to_pylist():
            key, row = self.fingerprint(item), known.get(item["uri"])
            outcome = KEPT
            if row is None or row["fingerprint"] != key or (self.retry and row["reason"]):
                if is_stopping():
                    continue
                row, signature = self._survey_item(item, decoder, scores)
                row["fingerprint"], outcome = key, MADE
            else:
                signature = signed.get(row["content_id"])
            rows.append(row)
            if signature is not None:
                signatures.setdefault(row["content_id"], signature)
            outcome = REJECTED if row["reason"] else outcome
            note(self.workspace.log("survey"), outcome, uri=item["uri"], reason=row["reason"])
        table = pa.Table.from_pylist([signatures[name] for name in sorted(signatures)], SIGNATURES)
        write_table_unit(self.workspace.signatures, unit, table)
        write_table_unit(self.workspace.survey, unit, pa.Table.from_pylist(rows, SURVEY))
        raise_if_stopping()

    def _signatures(self, unit: int) -> list[dict[str, Any]]:
        return read_table_unit(self.workspace.signatures, unit, SIGNATURES).to_pylist()

    def _survey_item(
        self, item: Mapping[str, Any], decoder: Decoder, scores: Sequence[Score]
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        row = {**_EMPTY, **item}
        try:
            with local_file(item["uri"], max_bytes=self._limit(item)) as path, _unchanged(path):
                row["size_bytes"] = path.stat().st_size
                if row["size_bytes"] == 0:
                    raise InputError(Reason.EMPTY, "the file has no bytes")
                row["document_id"] = row["content_id"] = sha256_file(path)
                found = self._look(item["kind"], path, decoder, scores)
                row |= found.columns
            if item["transcript"] and item["transcript"] != "embedded":
                row["transcript_sha256"] = _hash_transcript(item["transcript"])
        except InputError as e:
            row |= {"reason": e.reason.value, "detail": str(e)}
            if e.reason is Reason.CHANGED:
                row |= {"document_id": None, "content_id": None}
        except OSError as e:
            row |= {"reason": Reason.UNREADABLE.value, "detail": f"{item['uri']}: {e}"}
        if row["reason"] or found.signature is None:
            return row, None
        return row, {"content_id": row["content_id"], "kind": item["kind"], **found.signature}

    def _look(self, kind: str, path: Path, decoder: Decoder, scores: Sequence[Score]) -> Found:
        if kind == "book":
            return look_at_book(path, self.books, self.config.books)
        if kind == "qa":
            read_turns(path, self.qa)
            return Found({})
        return look_at_video(path, decoder, self.config, scores)

    def _limit(self, item: Mapping[str, Any]) -> int:
        of_kind = {"book": self.books.max_bytes, "qa": self.qa.max_bytes}
        return min(self.config.max_bytes, of_kind.get(item["kind"], self.config.max_bytes))

    def fingerprint(self, item: Mapping[str, Any]) -> str:
        """Return what a row depends on, without reading the item: its manifest row, size and version."""
        versions = [_version(item["uri"])]
        if item["transcript"] and item["transcript"] != "embedded":
            versions.append(_version(item["transcript"]))
        how: Any = (
            self.config.thumbnails,
            self.config.decode_below_s,
            versions_of(self.config.scores),
            SIGNATURE_VERSION,
        )
        if item["kind"] == "book":
            how = book_fingerprint(self.books, self.config.books)
        return fingerprint(_VERSION, dict(item), versions, how, self._limit(item))


def look_at_book(path: Path, config: BookConfig, look: BookLook) -> Found:
    """Read a book and all that follows from its text; raises InputError."""
    columns, signature = survey_book(path, config, look)
    samples = {
        "starts": signature.starts.tolist(),
        "lengths": signature.lengths.tolist(),
        "samples": list(signature.samples),
    }
    return Found(columns, {**samples, "thumbnail": None})


def look_at_video(path: Path, decoder: Decoder, config: SurveyConfig, scores: Sequence[Score]) -> Found:
    """Look at a video or image; raises InputError where it cannot be decoded."""
    how = AnalysisConfig(config.thumbnails, config.decode_below_s, frames=bool(scores))
    stats = decoder.analyze(path, how)
    info = stats.info
    columns = {
        "container": info.container,
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "duration_s": info.duration_s,
        "frame_rate": info.frame_rate,
        "bit_depth": info.bit_depth,
        "interlaced": info.interlaced,
        "crop": list(stats.crop),
        "measures": {**stats.measures, **rate(stats.frames, scores, taken=stats.measures)},
    }
    if stats.content_id is not None:
        columns["content_id"] = stats.content_id
    samples = {
        "starts": stats.times_s.tolist(),
        "lengths": stats.durations_s.tolist(),
        "samples": list(stats.signatures),
    }
    return Found(columns, {**samples, "thumbnail": stats.thumbnail})


def read_known(workspace: Workspace, unit: int) -> dict[str, dict[str, Any]]:
    """Return the rows of an earlier run by address, less those whose signature is lost."""
    try:
        path = workspace.signatures / f"{unit_name(unit)}.parquet"
        signed = set(pq.read_table(path, columns=["content_id"])["content_id"].to_pylist())
    except (OSError, pa.ArrowException, KeyError):
        signed = set()
    rows = read_survey_unit(workspace, unit)
    return {
        row["uri"]: row for row in rows if row["reason"] or row["kind"] not in _SIGNED or row["content_id"] in signed
    }


@contextmanager
def _unchanged(path: Path) -> Iterator[None]:
    """Raise InputError CHANGED where a file is written to while the body reads it, whatever the body makes of it."""
    before, error = stat(str(path)), None
    try:
        yield
    except InputError as e:
        error = e
    if stat(str(path)) != before:
        message = f"{path} was written to while it was read: survey it again when it is whole"
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
        with local_file(uri, max_bytes=1 << 30) as path:
            return sha256_file(path)
    except InputError as e:
        raise InputError(Reason.BAD_TRANSCRIPT, f"transcript {e}") from e
