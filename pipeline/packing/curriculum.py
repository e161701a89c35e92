"""Read the data of a curriculum: the stages of a training, each packed into a dataset from the same token store.

A curriculum is a TOML file with one `[[stage]]` table per stage, or the name of one that Longreel contains (`PRESETS`).
The keys of a stage are `name`, `context` and the fields of `PackConfig` and `Mixture`; the others (`TRAINING`) say how
it is trained, and `pipeline/cli/curriculum/` reads them:

    [[stage]]
    name = "32k"
    context = 32768
    min_tokens = 1024
    text_share = 0.16
    loss_weighting = "document"

    [stage.source_epochs]
    "gutenberg" = 2.0

    [stage.train]
    steps = 1200
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.packing.config import PackConfig, require_context
from pipeline.packing.job import Stage
from pipeline.packing.mixture import Mixture
from schemas.errors import ConfigError
from schemas.files import read_toml

_PRESETS = Path(__file__).parent / "curricula"
PRESETS = ("laptop", "lwm-paper")
TRAINING = frozenset({"datasets", "train", "evaluate"})  # keys of a stage that packing does not need

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MIXTURE = frozenset(field.name for field in dataclasses.fields(Mixture))
_PACK = frozenset(field.name for field in dataclasses.fields(PackConfig)) - {"mixture"}


@dataclass(frozen=True, kw_only=True)
class StageTable:
    """A stage as the file has it."""

    data: Stage  # the dataset to pack
    training: Mapping[str, Any]  # the values of the keys in TRAINING
    where: str  # file and stage, for messages


@dataclass(frozen=True, kw_only=True)
class CurriculumFile:
    """The content of a curriculum; `train` has the options of training that all stages share."""

    name: str
    train: Mapping[str, Any]
    stages: tuple[StageTable, ...]


def read_curriculum(source: str | Path) -> list[Stage]:
    """Return the datasets of a curriculum in file order; raises ConfigError that names the invalid stage and key."""
    return [stage.data for stage in read_curriculum_file(source).stages]


def read_curriculum_file(source: str | Path) -> CurriculumFile:
    """Read a file, or a preset by its name; raises ConfigError that names the invalid stage and key."""
    path = _PRESETS / f"{source}.toml" if str(source) in PRESETS else Path(source)
    try:
        tables = read_toml(path)
    except OSError as e:
        hint = f"; presets are {', '.join(PRESETS)}" if path.name == str(source) else ""
        raise ConfigError(f"the curriculum {path} cannot be read: {e.strerror}{hint}") from e
    except ValueError as e:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"the curriculum {path} is not TOML: {e}") from e
    stages, train = tables.pop("stage", None), tables.pop("train", {})
    if not isinstance(stages, list) or not stages or not all(isinstance(table, dict) for table in stages):
        raise ConfigError(f"the curriculum {path} has no stage; add a [[stage]] table with `context = 4096` for each")
    if tables or not isinstance(train, dict):
        wrong = next(iter(tables), "train")
        raise ConfigError(f"{path}: unknown key {wrong!r}; a curriculum has [[stage]] tables and one table [train]")
    found = [_stage(table, f"{path}, stage {i + 1}") for i, table in enumerate(stages)]
    names = [stage.data.name for stage in found]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path} has two stages named {duplicates[0]!r}; give each a different `name`")
    return CurriculumFile(name=str(source), train=train, stages=tuple(found))


def _stage(table: Mapping[str, Any], where: str) -> StageTable:
    values = dict(table)
    context = values.pop("context", None)
    if type(context) is not int:
        raise ConfigError(f"{where}: `context` must be an integer number of tokens, got {context!r}")
    name = values.pop("name", str(context))
    if not isinstance(name, str) or not is_name(name):
        raise ConfigError(
            f"{where}: `name` becomes a folder name, so use only letters, digits, `.`, `_` and `-`, got {name!r}"
        )
    training = {key: values.pop(key) for key in TRAINING & values.keys()}
    if unknown := sorted(values.keys() - _MIXTURE - _PACK):
        known = ", ".join(sorted(_MIXTURE | _PACK | TRAINING | {"name", "context"}))
        raise ConfigError(f"{where} ({name}): unknown option {unknown[0]!r}; known are {known}")
    try:
        require_context(context)
        mixture = Mixture(**{key: value for key, value in values.items() if key in _MIXTURE})
        config = PackConfig(mixture=mixture, **{key: value for key, value in values.items() if key in _PACK})
    except (ConfigError, TypeError, AttributeError) as e:  # TypeError, AttributeError: a value of the wrong type
        raise ConfigError(f"{where} ({name}): {e}") from e
    data = Stage(name=name, context_length=context, config=config)
    return StageTable(data=data, training=training, where=f"{where} ({name})")


def is_name(name: str) -> bool:
    """Return whether `name` can be that of a folder."""
    return _NAME.fullmatch(name) is not None
