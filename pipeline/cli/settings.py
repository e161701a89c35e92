"""Maps the options of commands to the settings of a workspace.

A command class lists its configurations in `SETTINGS`: attribute -> table of the workspace. The option --val-fraction
of `select` and the option --select.val-fraction of `run` are one setting, `val-fraction` in [select]. Each dataset has
its own settings of packing: [pack.4096].
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from pipeline.cli.options import NONE, TRANSIENT, Option, Scalar, Value, options_of
from pipeline.cli.toml import spelled, write_config
from pipeline.runtime.settings import Key, Settings, apply_settings
from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError, UsageError
from schemas.files import write_text
from schemas.runs.messages import LOG, messages
from schemas.storage.location import Location

if TYPE_CHECKING:
    from pipeline.packing.job import Stage  # imports Beam, which `longreel train` does not need

PACK = "pack"


def settings_of(config: object, *table: str) -> dict[Key, str]:
    """Return the options of a configuration as settings in a table."""
    return {
        (*table, *option.name.split(".")): spelled(_plain(option, option.value_of(config)))
        for option in options_of(type(config))
    }


def _plain(option: Option, value: object) -> Value:
    plain = option.to_toml(value)
    return NONE if plain is None else plain


def settings_of_command(command: object, stages: Iterable[Stage] = ()) -> dict[Key, str]:
    """Return all settings of a command, with those of the datasets that it packs."""
    found: dict[Key, str] = {}
    for attribute, table in settings_tables(type(command)).items():
        if table != (PACK,):
            found |= settings_of(getattr(command, attribute), *table)
    for stage in stages:
        found |= settings_of(stage.config, PACK, stage.name)
    return found


@contextmanager
def configured(
    workspace: Workspace,
    name: str,
    command: object,
    *,
    stages: Iterable[Stage] = (),
    text_tokenizer: Location | None = None,
    reconfigure: bool,
) -> Iterator[Workspace]:
    """Lock the workspace, record the settings of the command, and keep its options in logs/NAME.toml.

    Raises UsageError when the settings differ from those recorded, or `text_tokenizer` from the workspace's, and
    `reconfigure` is false. A workspace without a manifest contains nothing yet that other settings could invalidate.
    """
    with workspace.locked():
        reconfigure = reconfigure or not workspace.manifest.exists()
        if text_tokenizer is not None and not reconfigure:
            _require_same_text_tokenizer(workspace, text_tokenizer)
        apply_settings(workspace.root, settings_of_command(command, stages), reconfigure=reconfigure)
        write_text(workspace.root / "logs" / f"{name}.toml", command_toml(name, command))
        with messages.recorded(workspace.logs / LOG):
            yield workspace


def _require_same_text_tokenizer(workspace: Workspace, given: Location) -> None:
    from pipeline.runtime.kept_tokenizer import kept_hashes
    from tokenizer.text.tokenizer import TextTokenizer

    try:
        kept = kept_hashes(workspace)
    except DatasetError:  # damaged: giving it again repairs it
        return
    if kept and kept != TextTokenizer.load(given).files.hashes():
        raise UsageError(
            f"--text-tokenizer {given} is not the tokenizer of the workspace, {workspace.text_tokenizer}. With "
            "--reconfigure it replaces that, which invalidates the results of tokenize and pack for all items. "
            "Leave the option out to keep it."
        )


def record(name: str, command: object) -> None:
    """Write the options of a command next to its output, if its class names that option as `RECORD`.

    In an output folder the file is NAME.toml; next to an output file it is FILE.toml.
    """
    for option in options_of(type(command)):
        if option.name == getattr(type(command), "RECORD", None):
            out = Path(str(option.value_of(command)))
            if out.exists():
                path = out / f"{name.replace(' ', '-')}.toml" if out.is_dir() else out.with_name(f"{out.name}.toml")
                write_text(path, command_toml(name, command))


def recorded_vision(workspace: Location | None) -> str:
    """Return the VQGAN that the workspace is configured for, or else the default.

    It is the name of a shipped checkpoint, or a file of weights.
    """
    from pipeline.tokenize.config import TokenizeConfig

    spelling = None
    if workspace is not None and (workspace / "workspace.json").exists():
        spelling = Settings.read(workspace).values.get(("vision",))
    return TokenizeConfig().vision if spelling is None else str(tomllib.loads(f"value = {spelling}")["value"])


def command_toml(name: str, command: object) -> str:
    """Return all options of a command as a configuration file."""
    options = [option for option in options_of(type(command)) if option.name not in TRANSIENT]
    values = {option.name: option.to_toml(option.value_of(command)) for option in options}
    return write_config(options, values, title=f"longreel {name} --config THIS_FILE")


def recorded_values(
    command_class: type, options: Sequence[Option], given: Mapping[str, Sequence[str]], values: Mapping[str, Value]
) -> dict[str, Value]:
    """Return the values that the command's workspace has on record, by option name; nothing for a new workspace.

    Raises UsageError when several datasets are packed with different settings, and an option does not decide.
    """
    tables = settings_tables(command_class)
    where = given["out"][-1] if given.get("out") else values.get("out")
    if not tables or not isinstance(where, str):
        return {}
    settings = Settings.read(Location.parse(where), accept_edited="reconfigure" in given).values
    datasets = [str(context) for context in given.get("context") or _as_list(values.get("context"))]
    found: dict[str, Value] = {}
    hints = get_type_hints(command_class)
    for option in options:
        if option.path[0] not in tables or option.name in given or option.name in values:
            continue
        table, key = tables[option.path[0]], _relative(hints[option.path[0]], option)
        keys = [(*table, name, *key) for name in datasets] if table == (PACK,) else [(*table, *key)]
        spellings = {key: settings[key] for key in keys if key in settings}
        if len(set(spellings.values())) > 1:
            raise UsageError(_differing(option, spellings))
        if spellings:
            found[option.name] = tomllib.loads(f"value = {next(iter(spellings.values()))}")["value"]
    return found


def settings_tables(command_class: type) -> Mapping[str, Key]:
    """Return the table of each attribute that is a setting of the workspace; nothing for commands without any."""
    found: Mapping[str, Key] = getattr(command_class, "SETTINGS", {})
    return found


def _as_list(value: Value | None) -> list[Scalar]:
    return value if isinstance(value, list) else []


def _relative(attribute: type, option: Option) -> Key:
    """Return the key of an option within the configuration that has it, the type of an attribute of the command."""
    (name,) = (other.name for other in options_of(attribute) if other.path == option.path[1:])
    return tuple(name.split("."))


def _differing(option: Option, spellings: Mapping[Key, str]) -> str:
    values = ", ".join(f"{key[1]}: {text}" for key, text in spellings.items())
    return (
        f"the datasets were packed with different values of --{option.name} ({values}): pack them one at a time, or "
        "give the option"
    )
