"""Survey rows, pairs and signatures for tests, written as the jobs before `select` write them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from PIL import Image

from pipeline.dedup.pairs import Pair, pairs_table
from pipeline.filters.languages import LanguageFilter
from pipeline.filters.licenses import LicenseFilter
from pipeline.filters.limit_filter import LimitFilter
from pipeline.filters.registry import Filters
from pipeline.runtime.manifest_file import write_manifest
from pipeline.runtime.workspace import Workspace, write_table_unit
from pipeline.select.config import SelectConfig
from schemas.fingerprint import fingerprint
from schemas.records import MANIFEST, SIGNATURES, SURVEY, USER_COLUMNS
from schemas.rows import SurveyRow
from schemas.tables import write_table

Row = dict[str, Any]


def typed(row: Row) -> SurveyRow:
    """Return a row as the pipeline's stages pass it."""
    return SurveyRow.from_row(row)


def select_config(
    *limits: str, licenses: tuple[str, ...] = (), languages: tuple[str, ...] = (), **other: Any
) -> SelectConfig:
    """Return the options of `select` with these limits (NAME=MIN:MAX), licenses and languages."""
    filters = Filters(
        license=LicenseFilter(licenses=licenses),
        language=LanguageFilter(languages=languages),
        limit=LimitFilter(limit=limits),
    )
    return SelectConfig(filters=filters, **other)


def video(uri: str = "/files/a.mp4", **changes: Any) -> Row:
    """Return the row of a video that the default filters keep; its content_id is a hash of its address."""
    facts = {"codec": "h264", "width": 640, "height": 360, "duration_s": 10.0, "frame_rate": 25.0, "size_bytes": 1000}
    return _row(uri, "video", facts | {"measures": {"brightness": 90.0}} | changes)


def book(uri: str = "/files/a.txt", **changes: Any) -> Row:
    """Return the row of a book that the default filters keep."""
    facts = {"encoding": "utf_8", "language": "en", "size_bytes": 60_000}
    return _row(uri, "book", facts | {"measures": {"characters": 60_000.0, "words": 10_000.0}} | changes)


def broken(uri: str, reason: str, detail: str, kind: str = "video") -> Row:
    """Return the row of an item that the survey could not read and rejected."""
    nothing = {"document_id": None, "content_id": None}
    return _row(uri, kind, nothing | {"reason": reason, "detail": detail})


def _row(uri: str, kind: str, changes: Mapping[str, Any]) -> Row:
    content = fingerprint("content of", uri)
    plain = {"uri": uri, "kind": kind, "content_id": content, "document_id": fingerprint("bytes of", uri)}
    row = dict.fromkeys(SURVEY.names) | plain | {"fingerprint": fingerprint("row of", uri)}
    row["cluster"] = changes.get("content_id") or content  # as `select` sets it if there are no pairs
    return row | changes


def pair(one: Row, other: Row, *, of_one: float = 0.9, of_other: float = 0.9, **changes: Any) -> Pair:
    """Return the pair of two rows: `other` contains a share `of_one` of `one`."""
    (a, of_a), (b, of_b) = sorted([(one["content_id"], of_one), (other["content_id"], of_other)])
    facts: dict[str, Any] = {"similarity": 0.95, "shared_a": ((0.0, 9.0),), "shared_b": ((0.0, 9.0),)} | changes
    return Pair(a=a, b=b, kind=one["kind"], containment_a=of_a, containment_b=of_b, **facts)


def write_survey(workspace: Workspace, rows: Sequence[Row], pairs: Iterable[Pair] = ()) -> None:
    """Write manifest, survey units and pairs."""
    listed = [{name: row[name] for name in USER_COLUMNS} for row in rows]
    write_manifest(workspace, pa.Table.from_pylist(listed, MANIFEST))
    for unit, some in by_unit(workspace, rows).items():
        plain = [row | {"cluster": None} for row in some]
        write_table_unit(workspace.survey, unit, pa.Table.from_pylist(plain, SURVEY))
    if pairs := list(pairs):
        write_table(workspace.pairs, pairs_table(pairs))


def write_signatures(workspace: Workspace, thumbnails: Iterable[tuple[Row, bytes | None]]) -> None:
    """Write signature units that hold nothing but thumbnails."""
    thumbnails = list(thumbnails)
    of = {row["uri"]: thumbnail for row, thumbnail in thumbnails}
    for unit, some in by_unit(workspace, [row for row, _ in thumbnails]).items():
        signatures = [
            {
                "content_id": r["content_id"],
                "kind": r["kind"],
                "starts": [],
                "lengths": [],
                "samples": [],
                "activity": b"",
            }
            | {"thumbnail": of[r["uri"]]}
            for r in some
        ]
        write_table_unit(workspace.signatures, unit, pa.Table.from_pylist(signatures, SIGNATURES))


def by_unit(workspace: Workspace, rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Spread rows over the units that their addresses belong to, in the order of the addresses."""
    units: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda r: r["uri"]):
        units.setdefault(workspace.unit_of(row["uri"]), []).append(row)
    return units


def webp(color: tuple[int, int, int], size: tuple[int, int] = (200, 30)) -> bytes:
    """Return a WebP picture of one color, as a strip of frames is shaped."""
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, format="WEBP")
    return out.getvalue()
