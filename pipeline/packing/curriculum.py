"""Read a curriculum: the training stages of a model, each packed into a separate dataset from the same token store.

A curriculum is a TOML file with one `[[stage]]` table per stage. The keys are `name`, `context` and the fields of
`PackConfig` and `Mixture`:

    [[stage]]
    name = "32k"
    context = 32768
    min_tokens = 1024
    text_share = 0.16
    loss_weighting = "document"

    [stage.source_epochs]
    "gutenberg" = 2.0
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.packing.config import PackConfig, require_context
from pipeline.packing.job import Stage
from pipeline.packing.mixture import Mixture
from schemas.errors import ConfigError
from schemas.files import read_toml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MIXTURE = frozenset(field.name for field in dataclasses.fields(Mixture))
_PACK = frozenset(field.name for field in dataclasses.fields(PackConfig)) - {"mixture"}


def read_curriculum(path: Path) -> list[Stage]:
    """Return the stages in file order; raises ConfigError that names the invalid stage and key."""
    try:
        tables = read_toml(path).get("stage")
    except OSError as e:
        raise ConfigError(f"the curriculum {path} cannot be read: {e.strerror}") from e
    except ValueError as e:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"the curriculum {path} is not TOML: {e}") from e
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"the curriculum {path} has no stage; add a [[stage]] table with `context = 4096` for each")
    stages = [_stage(table, f"{path}, stage {i + 1}") for i, table in enumerate(tables)]
    names = [stage.name for stage in stages]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path} has two stages named {duplicates[0]!r}; give each a different `name`")
    return stages


def _stage(table: Mapping[str, Any], where: str) -> Stage:
    values = dict(table)
    context = values.pop("context", None)
    if type(context) is not int:
        raise ConfigError(f"{where}: `context` must be an integer number of tokens, got {context!r}")
    name = values.pop("name", str(context))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: `name` becomes a folder name, so use only letters, digits, `.`, `_` and `-`, got {name!r}"
        )
    if unknown := sorted(values.keys() - _MIXTURE - _PACK):
        known = ", ".join(sorted(_MIXTURE | _PACK | {"name", "context"}))
        raise ConfigError(f"{where} ({name}): unknown option {unknown[0]!r}; known are {known}")
    try:
        require_context(context)
        mixture = Mixture(**{key: value for key, value in values.items() if key in _MIXTURE})
        config = PackConfig(mixture=mixture, **{key: value for key, value in values.items() if key in _PACK})
    except (ConfigError, TypeError, AttributeError) as e:  # TypeError, AttributeError: a value of the wrong type
        raise ConfigError(f"{where} ({name}): {e}") from e
    return Stage(name=name, context_length=context, config=config)
