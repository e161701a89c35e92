"""The workspace: its layout, its lock, and tables that are written unit by unit."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.runtime.workspace import (
    Workspace,
    drop_units,
    read_table_unit,
    read_units,
    usable,
    write_table_unit,
)
from schemas.errors import ConfigError, DatasetError, LeaseHeld
from schemas.storage.location import located

SCHEMA = pa.schema([("uri", pa.string()), ("reason", pa.string())])


def table(*uris: str) -> pa.Table:
    return pa.table({"uri": list(uris), "reason": [None] * len(uris)}, SCHEMA)


def test_an_existing_workspace_keeps_its_number_of_units(tmp_path: Path) -> None:
    assert Workspace.open(tmp_path / "out", units=3).units == 3
    assert Workspace.open(tmp_path / "out", units=64).units == Workspace.existing(tmp_path / "out").units == 3


@pytest.mark.parametrize("content", ["", "{}", '{"version": 1, "units": "many"}', '{"version": 99, "units": 1}'])
def test_a_workspace_file_that_is_damaged_or_of_another_version_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "workspace.json").write_text(content)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        Workspace.open(tmp_path)


def test_a_folder_with_other_files_is_not_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not empty and not a Longreel workspace; choose a new folder"):
        Workspace.open(tmp_path)
    with pytest.raises(ConfigError, match="is not a Longreel workspace"):
        Workspace.existing(tmp_path)
    with pytest.raises(ConfigError, match="units must be from 1 to 99,999, got 0"):
        Workspace.open(tmp_path / "new", units=0)


def test_a_missing_unit_is_empty_but_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_units(located(tmp_path / "survey"), SCHEMA)
    for unit in (2, 0):
        write_table_unit(located(tmp_path / "survey"), unit, table(f"/{unit}"))
    assert read_table_unit(located(tmp_path / "survey"), 1, SCHEMA).num_rows == 0
    assert read_units(located(tmp_path / "survey"), SCHEMA)["uri"].to_pylist() == ["/0", "/2"]
    assert read_units(located(tmp_path / "survey"), SCHEMA, ["reason"]).column_names == ["reason"]
    drop_units(located(tmp_path / "survey"), keep=[2])
    assert read_units(located(tmp_path / "survey"), SCHEMA)["uri"].to_pylist() == ["/2"]


def test_rejected_rows_are_not_usable() -> None:
    rows = pa.table({"uri": ["/a", "/b"], "reason": [None, "missing"]}, SCHEMA)
    assert usable(rows)["uri"].to_pylist() == ["/a"]


def test_the_lock_admits_one_command_and_removes_temporary_files_of_a_killed_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".workspace.json.12345678.tmp").touch()  # killed at its very first step
    workspace = Workspace.open(tmp_path / "out")
    workspace.tokens.local().mkdir(parents=True)
    (workspace.tokens.local() / ".unit-00000.arrow.12345678.tmp").touch()
    with workspace.locked():
        assert not list(workspace.root.local().rglob("*.tmp"))
        with pytest.raises(LeaseHeld, match="is in use by another longreel command"), workspace.locked():
            pass
    with workspace.locked():
        pass


def test_a_workspace_root_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Workspace.open(Path("out")).root == located(tmp_path / "out")
