"""The options of `longreel select`, as a command line shows them and as a finished selection stores them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

from tyro.conf import arg

from pipeline.filters.limit import Limit
from pipeline.filters.registry import Filters
from pipeline.select.keep_best import KeepConfig
from schemas.errors import ConfigError

_FLAT = arg(name="")
_REPEATED = ("limit",)  # options that are given once per value


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """Which items are kept, and which of them are held out."""

    filters: Annotated[Filters, _FLAT] = field(default_factory=Filters)
    keep: Annotated[KeepConfig, _FLAT] = field(default_factory=KeepConfig)
    val_fraction: float = 0.05
    """Share of items in the split "val", chosen by a hash of their content. Items whose split the manifest gives are
    not counted."""
    split_seed: int = 0
    """Random seed of the split: another seed holds out other items."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction must be in [0, 1), got {self.val_fraction}")

    @property
    def limits(self) -> Mapping[str, Limit]:
        """The limits that apply, by the name of the number."""
        return self.filters.limit.limits


def as_options(config: SelectConfig) -> str:
    """Return a configuration as options of `longreel select`; empty if every value is the default."""
    words: list[str] = []
    for name, value, default in _options(config, SelectConfig()):
        option = "--" + name.replace("_", "-")
        if value == default:
            continue
        if name in _REPEATED:
            words += [word for text in value for word in (option, text)]
        elif isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words += [option, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def _options(config: Any, default: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, value, default) of every option of nested dataclasses, in order."""
    for f in fields(config):
        value, usual = getattr(config, f.name), getattr(default, f.name)
        if is_dataclass(value):
            yield from _options(value, usual)
        else:
            yield f.name, value, usual


def config_from_json(values: Mapping[str, Any]) -> SelectConfig:
    """Return the configuration that `dataclasses.asdict` and JSON turned into `values`.

    Raises TypeError, KeyError or ConfigError if they are not those of a SelectConfig.
    """
    config: SelectConfig = _from_json(SelectConfig, values)
    return config


def _from_json(kind: type[Any], values: Mapping[str, Any]) -> Any:
    types = get_type_hints(kind)
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in dict(values).items()}
    nested = {f.name: types[f.name] for f in fields(kind) if is_dataclass(types[f.name])}
    return kind(**plain | {name: _from_json(part, values[name]) for name, part in nested.items()})
