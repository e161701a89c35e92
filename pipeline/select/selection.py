"""TODO."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
from tyro.conf import UseAppendAction, arg

from pipeline.filters.limits import Limit, with_limits
from pipeline.runtime.units import read_rows
from pipeline.runtime.workspace import Workspace, drop_units, read_units
from pipeline.select.keep_best import KeepConfig
from schemas.errors import ConfigError, DatasetError
from schemas.files import write_text
from schemas.records import PAIRS, SURVEY

_MARKER = "selection.json"


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """What an item must be like to go on."""

    set: UseAppendAction[tuple[str, ...]] = ()
    """A limit on a number that the survey found: NAME=MIN:MAX, either side may be empty. Give it several times for
    several limits. `longreel explain ITEM` shows all numbers and limits."""
    licenses: tuple[str, ...] = ()
    """Licenses that may go on, as the manifest spells them (upper and lower case are the same); "unknown" allows items
    that name none. Without the option nothing is asked."""
    languages: tuple[str, ...] = ()
    """Languages of books that may go on, as ISO 639-1 names them (en, de, ...). Without the option nothing is asked."""
    keep: Annotated[KeepConfig, arg(name="")] = field(default_factory=KeepConfig)
    val_fraction: float = 0.05
    """Share of items, chosen by a hash of their content, that is held out where the manifest names no split."""
    split_seed: int = 0
    """Changes which items are held out."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction must be in [0, 1), got {self.val_fraction}")
        if not all(name.strip() for name in self.licenses):
            raise ConfigError(f'licenses must have names ("unknown" for items without one), got {self.licenses}')
        with_limits(self.set)

    @functools.cached_property
    def limits(self) -> Mapping[str, Limit]:
        """The limits that hold: the defaults, and what `set` says."""
        return with_limits(self.set)


def as_options(config: SelectConfig) -> str:
    """Return a configuration as options of `longreel select`; nothing where all are the defaults."""
    words: list[str] = []
    for part, usual in ((config, SelectConfig()), (config.keep, KeepConfig())):
        for name, value in ((f.name, getattr(part, f.name)) for f in fields(part) if f.name != "keep"):
            option = "--" + name.replace("_", "-")
            if value == getattr(usual, name):
                continue
            if name == "set":
                words += [word for text in value for word in (option, text)]
            elif isinstance(value, bool):
                words.append(option if value else option.replace("--", "--no-", 1))
            else:
                words += [option, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def read_pairs(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the pairs that `dedup` found; nothing where it has not run."""
    return read_rows(workspace.pairs, PAIRS).to_pylist() if workspace.pairs.exists() else []


class Selection(NamedTuple):
    """A finished selection: what it was made from, with which options, and all judged rows."""

    fingerprint: str
    config: SelectConfig
    rows: pa.Table


def finish_selection(workspace: Workspace, config: SelectConfig, *, fingerprint: str, items: int) -> None:
    """Write down that the selection is whole: it is used only with this file, and with this many rows."""
    facts = {"fingerprint": fingerprint, "items": items, "config": asdict(config)}
    write_text(workspace.selection / _MARKER, json.dumps(facts) + "\n")


def begin_selection(workspace: Workspace) -> None:
    """Take away what an earlier selection left, its mark first: until the new one is finished there is none."""
    (workspace.selection / _MARKER).unlink(missing_ok=True)
    drop_units(workspace.selection, ())


def read_selection(workspace: Workspace, columns: Sequence[str] | None = None) -> Selection:
    """Read a finished selection, all columns or some.

    Raises DatasetError where it is not finished, or a part of it is lost or damaged.
    """
    marker = workspace.selection / _MARKER
    try:
        facts = json.loads(marker.read_text(encoding="utf-8"))
        key, items, config = facts["fingerprint"], facts["items"], _config(facts["config"])
    except FileNotFoundError as e:
        raise DatasetError(f"{workspace.selection} is not finished: run `longreel select` first") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DatasetError(f"{marker} cannot be read ({e}); run `longreel select` again") from e
    rows = read_units(workspace.selection, SURVEY, columns)
    if len(rows) != items:
        raise DatasetError(f"{workspace.selection} has {len(rows)} of {items} rows; run `longreel select` again")
    return Selection(key, config, rows)


def _config(values: Mapping[str, Any]) -> SelectConfig:
    """Return the configuration that `asdict` and JSON made `values` of."""
    plain, keep = dict(values), dict(values["keep"])
    for part in (plain, keep):
        part |= {name: tuple(value) for name, value in part.items() if isinstance(value, list)}
    return SelectConfig(**plain | {"keep": KeepConfig(**keep)})
