"""Survey: a cheap look at every item, before anything is decoded in full.

The content's SHA-256 (one read of the file; it becomes the document's identity), what the container says, and
the brightness of a few frames found by seeking. What cannot be read is set aside here, with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.book_survey import BookLook, book_fingerprint, survey_book
from pipeline.books import BookConfig
from pipeline.decode import DecodeConfig, Decoder
from pipeline.inputs import MAX_BYTES, local_file, stat
from pipeline.interrupt import is_stopping, raise_if_stopping
from pipeline.progress import KEPT, MADE, REJECTED, note
from pipeline.qa import QaConfig, read_turns
from pipeline.select import read_survey_unit
from pipeline.workspace import Workspace, read_manifest_unit, write_table_unit
from schemas.errors import ConfigError, InputError, Reason
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import SURVEY

_VERSION = 2  # counts up when the same input would give another row
_EMPTY = dict.fromkeys(SURVEY.names)


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """How closely to look."""

    thumbnails: int = 5
    """Frames looked at in a video, spread over its length."""
    max_bytes: int = MAX_BYTES
    """Files larger than this are set aside."""
    books: BookLook = field(default_factory=BookLook)

    def __post_init__(self) -> None:
        if self.thumbnails < 1:
            raise ConfigError(f"thumbnails must be at least 1, got {self.thumbnails}")
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be at least 1, got {self.max_bytes}")


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
        """Start the decoder; see pipeline.beam.Worker."""
        with Decoder(self.decode) as decoder:
            yield lambda unit: self._survey_unit(unit, decoder)

    def _survey_unit(self, unit: int, decoder: Decoder) -> None:
        known = {row["uri"]: row for row in read_survey_unit(self.workspace, unit)}
        rows = []
        for item in read_manifest_unit(self.workspace, unit).to_pylist():
            key, row = self.fingerprint(item), known.get(item["uri"])
            outcome = KEPT
            if row is None or row["fingerprint"] != key or (self.retry and row["reason"]):
                if is_stopping():
                    continue
                row, outcome = {**self._survey_item(item, decoder), "fingerprint": key}, MADE
            rows.append(row)
            outcome = REJECTED if row["reason"] else outcome
            note(self.workspace.log("survey"), outcome, uri=item["uri"], reason=row["reason"])
        write_table_unit(self.workspace.survey, unit, pa.Table.from_pylist(rows, SURVEY))
        raise_if_stopping()

    def _survey_item(self, item: Mapping[str, Any], decoder: Decoder) -> dict[str, Any]:
        row = {**_EMPTY, **item}
        try:
            with local_file(item["uri"], max_bytes=self._limit(item)) as path:
                row["size_bytes"] = path.stat().st_size
                if row["size_bytes"] == 0:
                    raise InputError(Reason.EMPTY, "the file has no bytes")
                row["document_id"] = row["content_id"] = sha256_file(path)
                if item["kind"] == "book":
                    columns, _ = survey_book(path, self.books, self.config.books)  # the signature: see pipeline.match
                    row |= columns
                elif item["kind"] == "qa":
                    read_turns(path, self.qa)
                else:
                    row |= look(path, decoder, thumbnails=self.config.thumbnails)
            if item["transcript"] and item["transcript"] != "embedded":
                row["transcript_sha256"] = _hash_transcript(item["transcript"])
        except InputError as e:
            row |= {"reason": e.reason.value, "detail": str(e)}
        except OSError as e:
            row |= {"reason": Reason.UNREADABLE.value, "detail": f"{item['uri']}: {e}"}
        return row

    def _limit(self, item: Mapping[str, Any]) -> int:
        of_kind = {"book": self.books.max_bytes, "qa": self.qa.max_bytes}
        return min(self.config.max_bytes, of_kind.get(item["kind"], self.config.max_bytes))

    def fingerprint(self, item: Mapping[str, Any]) -> str:
        """Return what a row depends on, without reading the item: its manifest row, size and version."""
        versions = [_version(item["uri"])]
        if item["transcript"] and item["transcript"] != "embedded":
            versions.append(_version(item["transcript"]))
        of_book = book_fingerprint(self.books, self.config.books) if item["kind"] == "book" else None
        return fingerprint(_VERSION, dict(item), versions, self.config.thumbnails, self._limit(item), of_book)


def look(path: Path, decoder: Decoder, *, thumbnails: int) -> dict[str, Any]:
    """Return the survey's columns for one video or image; raises InputError where it cannot be decoded."""
    info = decoder.probe(path)
    frames = decoder.thumbnails(path, count=1 if info.is_picture else thumbnails, size=64)
    return {
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "duration_s": info.duration_s,
        "frame_rate": info.frame_rate,
        "bit_depth": info.bit_depth,
        "interlaced": info.interlaced,
        "measures": {"brightness": float(np.max(np.mean(frames, axis=(1, 2, 3))))},
    }


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
