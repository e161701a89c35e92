"""Select: who goes on, and into which split.

Rules on one row, then on rows of equal content; each gives a reason and a detail. The split is the manifest's, or
falls to a hash of the content, so it does not change when other items come or go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.workspace import Workspace, read_table_unit, read_units, write_table_unit
from schemas.errors import ConfigError, DatasetError, Reason
from schemas.files import write_text
from schemas.fingerprint import bucket
from schemas.records import SURVEY

Row = Mapping[str, Any]
_SPLIT_STEPS = 1_000_000
_MARKER = "selection.json"
SELECT_REASONS = {Reason.TOO_SHORT, Reason.TOO_LONG, Reason.TOO_SMALL, Reason.BLACK, Reason.DUPLICATE}


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """What an item must be like to go on."""

    min_duration_s: float = 1.0
    """Shorter videos are set aside; pictures are not concerned."""
    max_duration_s: float = 4 * 3600.0
    """Longer videos are set aside."""
    min_side: int = 64
    """Pixels of the shorter side, below which a video or picture is set aside."""
    min_brightness: float = 8.0
    """Mean grey level (0-255) that at least one frame looked at must reach."""
    val_fraction: float = 0.05
    """Share of items, chosen by a hash of their content, that is held out where the manifest names no split."""
    split_seed: int = 0
    """Changes which items are held out."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction must be in [0, 1), got {self.val_fraction}")
        if not 0 <= self.min_duration_s <= self.max_duration_s:
            raise ConfigError(
                f"min_duration_s must be between 0 and max_duration_s={self.max_duration_s}, got {self.min_duration_s}"
            )


def judge(row: Row, config: SelectConfig) -> tuple[Reason, str] | None:
    """Return why a surveyed row does not go on, or None where it does."""
    if row["reason"]:
        return Reason(row["reason"]), row["detail"]
    if row["kind"] in ("book", "qa"):
        return None
    duration, side = row["duration_s"], min(row["width"], row["height"])
    if row["kind"] == "video" and duration is not None:
        if duration < config.min_duration_s:
            return Reason.TOO_SHORT, f"{duration:.2f} s; at least {config.min_duration_s:g} s (--min-duration-s)"
        if duration > config.max_duration_s:
            return Reason.TOO_LONG, f"{duration:.0f} s; at most {config.max_duration_s:g} s (--max-duration-s)"
    if side < config.min_side:
        return Reason.TOO_SMALL, f"{row['width']}x{row['height']}; at least {config.min_side} a side (--min-side)"
    if row["brightness"] < config.min_brightness:
        return Reason.BLACK, f"the brightest frame looked at has a mean of {row['brightness']:.1f} of 255"
    return None


def choose_split(row: Row, config: SelectConfig) -> str:
    """Return the manifest's split, else the one the content falls to."""
    if row["split"]:
        return str(row["split"])
    share = bucket(f"{config.split_seed}/{row['document_id']}", _SPLIT_STEPS) / _SPLIT_STEPS
    return "val" if share < config.val_fraction else "train"


def judge_same_content(rows: Sequence[Row], config: SelectConfig) -> Iterator[dict[str, Any]]:
    """Judge rows of equal content: at most the one with the smallest address goes on."""
    kept: Row | None = None
    for row in sorted(rows, key=lambda r: r["uri"]):
        verdict = judge(row, config)
        if verdict is None and kept is not None:
            verdict = Reason.DUPLICATE, f"same bytes as {kept['uri']}"
        if verdict is None:
            kept = row
            yield {**row, "split": choose_split(row, config), "reason": None, "detail": None}
        else:
            yield {**row, "reason": verdict[0].value, "detail": verdict[1]}


@dataclass(frozen=True, kw_only=True)
class Selector:
    """The three steps of the Beam job: read a survey unit, judge a group, write a selection unit."""

    workspace: Workspace
    config: SelectConfig

    def read(self, unit: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (content, row); an item without content of its own stands alone under its address."""
        for row in read_table_unit(self.workspace.survey, unit, SURVEY).to_pylist():
            yield row["document_id"] or row["uri"], row

    def judge(self, rows: Sequence[Row]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (unit, judged row)."""
        for row in judge_same_content(rows, self.config):
            yield self.workspace.unit_of(row["document_id"] or row["uri"]), row

    def write(self, unit: int, rows: Iterable[Row]) -> None:
        """Write one selection unit, sorted by content and address."""
        ordered = sorted(rows, key=lambda r: (r["document_id"] or "", r["uri"]))
        write_table_unit(self.workspace.selection, unit, pa.Table.from_pylist(ordered, SURVEY))


class Selection(NamedTuple):
    """A finished selection: what it was made from, and all judged rows."""

    fingerprint: str
    rows: pa.Table


def finish_selection(workspace: Workspace, config: SelectConfig, *, fingerprint: str, items: int) -> None:
    """Write down that the selection is whole: it is used only with this file, and with this many rows."""
    facts = {"fingerprint": fingerprint, "items": items, "config": asdict(config)}
    write_text(workspace.selection / _MARKER, json.dumps(facts) + "\n")


def read_selection(workspace: Workspace) -> Selection:
    """Read a finished selection; raises DatasetError where it is not finished, or a part of it is lost or damaged."""
    marker = workspace.selection / _MARKER
    try:
        facts = json.loads(marker.read_text(encoding="utf-8"))
        key, items = facts["fingerprint"], facts["items"]
    except FileNotFoundError as e:
        raise DatasetError(f"{workspace.selection} is not finished: run `longreel select` first") from e
    except (ValueError, KeyError, TypeError) as e:
        raise DatasetError(f"{marker} cannot be read ({e}); run `longreel select` again") from e
    rows = read_units(workspace.selection, SURVEY)
    if len(rows) != items:
        raise DatasetError(f"{workspace.selection} has {len(rows)} of {items} rows; run `longreel select` again")
    return Selection(key, rows)
