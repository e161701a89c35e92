"""The effective configuration of a workspace: the one source of truth for every setting that decides what is made.

    WORKSPACE/config.toml    [survey], [decode], [books], [dedup], [select], …, and [pack.NAME] for each dataset

A stage records its settings here when it starts, before any work. Later commands take the recorded values for options
that are not given. A command with other values is refused, with the differences and the stages that they redo, unless
it has `--reconfigure`. The file is replaced atomically and carries a checksum, so that a value that was edited by hand
or damaged is not taken for one that a command applied.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from schemas.errors import UsageError
from schemas.files import write_text
from schemas.storage.location import Location

NAME = "config.toml"
Key = tuple[str, ...]  # ("decode", "fps"), ("vision",), ("pack", "4096", "min-tokens")
_STAGES = ("survey", "dedup", "select", "tokenize", "pack")
_FIRST_STAGE = dict.fromkeys(("inputs", "survey", "decode", "books", "qa"), "survey") | {
    "dedup": "dedup",
    "select": "select",
}
_HEADER = "# Effective configuration of this workspace. To change it, give options together with --reconfigure.\n"
_CHECKSUM = "# SHA-256 of what follows: "


class Change(NamedTuple):
    """A setting whose value would change; the values in TOML's notation."""

    key: Key
    old: str
    new: str

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that depend on the setting."""
        if self.key[0] == "pack":
            return (f"pack {self.key[1]}",)
        if self.key[0] == "access":  # no result depends on it
            return ()
        return _STAGES[_STAGES.index(_FIRST_STAGE.get(self.key[0], "tokenize")) :]


@dataclass(frozen=True)
class Settings:
    """Settings by key, each in TOML's notation."""

    values: Mapping[Key, str]

    @classmethod
    def read(cls, workspace: Location, *, accept_edited: bool = False) -> Settings:
        """Read the settings of a workspace; there are none before its first stage.

        Raises UsageError for a file that is not what a command wrote, except for one that is valid TOML with
        `accept_edited`.
        """
        path = workspace / NAME
        try:
            text = path.read().decode()
        except (FileNotFoundError, NotADirectoryError):
            return cls({})
        except (OSError, ValueError) as e:
            raise UsageError(f"{path} cannot be read ({e}); restore it, or delete it and give all options anew") from e
        found, _, body = text.removeprefix(_HEADER).partition("\n")
        if found != _CHECKSUM + _sha256(body) and not accept_edited:
            raise UsageError(
                f"{path} was edited or damaged since a command wrote it; run the command with --reconfigure to accept "
                "its values"
            )
        try:
            return cls(_parse(body if found.startswith(_CHECKSUM) else text))
        except ValueError as e:
            raise UsageError(f"{path} is not valid ({e}); restore it, or delete it and give all options anew") from e

    def changes(self, new: Mapping[Key, str]) -> list[Change]:
        """Return what `new` would change; a setting that is recorded for the first time is no change."""
        return [
            Change(key, self.values[key], value)
            for key, value in new.items()
            if key in self.values and self.values[key] != value
        ]

    def with_values(self, new: Mapping[Key, str]) -> Settings:
        """Return the settings with those in `new` replaced or added."""
        return Settings({**self.values, **new})

    def write(self, workspace: Location) -> None:
        """Replace the file of the workspace."""
        tables: dict[Key, list[str]] = {(): []}
        for key, value in sorted(self.values.items()):
            tables.setdefault(key[:-1], []).append(f"{_quoted(key[-1])} = {value}\n")
        parts = ["".join(tables.pop(()))]
        parts += [f"\n[{'.'.join(map(_quoted, table))}]\n{''.join(lines)}" for table, lines in sorted(tables.items())]
        body = "".join(parts)
        write_text(workspace / NAME, f"{_HEADER}{_CHECKSUM}{_sha256(body)}\n{body}")


def apply_settings(workspace: Location, new: Mapping[Key, str], *, reconfigure: bool) -> None:
    """Record the settings of a stage that is about to start.

    Raises UsageError, which lists the differences and what they cost, if other values are recorded and `reconfigure` is
    false. Nothing is written then.
    """
    recorded = Settings.read(workspace, accept_edited=reconfigure)
    changes = recorded.changes(new)
    costly = [change for change in changes if change.stages]
    if costly and not reconfigure:
        raise UsageError(_refusal(workspace, costly))
    if changes or new.keys() - recorded.values.keys() or reconfigure:
        recorded.with_values(new).write(workspace)


def _refusal(workspace: Location, changes: list[Change]) -> str:
    lines = [f"  {'.'.join(change.key)}: {change.old} -> {change.new}" for change in changes]
    affected = {stage for change in changes for stage in change.stages}
    known = [stage for stage in _STAGES if stage in affected]
    stages = ", ".join([*known, *sorted(affected - set(known))])
    return "\n".join(
        [
            f"these options differ from the configuration of the workspace {workspace}:",
            *lines,
            f"With --reconfigure they are applied, which invalidates the results of: {stages}. "
            "`longreel run` computes these again, for the affected items only. "
            "Leave the options out to keep the configuration.",
        ]
    )


def _parse(text: str) -> dict[Key, str]:
    """Return values as they are spelled in the file: one line each, which tomllib has found to be valid."""
    tomllib.loads(text)
    values: dict[Key, str] = {}
    table: Key = ()
    for line in text.splitlines():
        if line.startswith("["):
            table = _key_of(line.strip().strip("[]"))
        elif line.strip() and not line.startswith("#"):
            name, _, value = line.partition(" = ")
            values[(*table, *_key_of(name))] = value.strip()
    return values


def _key_of(name: str) -> Key:
    """Return the parts of a dotted TOML key."""
    found: object = tomllib.loads(f"{name} = 0")
    parts = []
    while isinstance(found, dict):
        ((part, found),) = found.items()
        parts.append(part)
    return tuple(parts)


def _quoted(name: str) -> str:
    return name if name.isascii() and name.replace("-", "").replace("_", "").isalnum() else f'"{name}"'


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
