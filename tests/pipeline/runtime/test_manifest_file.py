"""The manifest of a workspace."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runtime.manifest_file import (
    ABSENT,
    absent_items,
    read_absent,
    read_listed,
    read_manifest_unit,
    write_manifest,
)
from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError
from schemas.rows import ManifestItem, manifest_items, manifest_table

ITEMS = [ManifestItem(uri=f"/{n}.txt", kind="book", captions=("c",) * (n % 2)) for n in range(20)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "out", units=4)


def test_every_item_of_the_manifest_is_in_one_unit(workspace: Workspace) -> None:
    parts = write_manifest(workspace, manifest_table(ITEMS))
    found = [(unit, item) for unit in parts for item in read_manifest_unit(workspace, unit).items]
    assert sorted(item.uri for _, item in found) == sorted(item.uri for item in ITEMS)
    assert {item.uri: item for _, item in found} == {item.uri: item for item in ITEMS}
    assert all(unit == workspace.unit_of(item.uri) for unit, item in found)
    for unit, rows in parts.items():
        items = read_manifest_unit(workspace, unit).items
        assert manifest_items(rows.select(manifest_table(()).column_names)) == items
        assert items == sorted(items, key=lambda item: item.uri)


def test_columns_that_the_file_does_not_have_are_returned(workspace: Workspace) -> None:
    table = manifest_table(ITEMS).append_column("more", pa.array([item.uri for item in ITEMS]))
    for rows in write_manifest(workspace, table).values():
        assert rows["more"].to_pylist() == rows["uri"].to_pylist()
    assert "more" not in pq.read_schema(workspace.manifest.local()).names


def test_the_causes_of_absences_are_read_of_one_unit_and_of_all(workspace: Workspace) -> None:
    table = manifest_table(ITEMS).append_column(ABSENT, pa.array([None] * 19 + ["unlisted"], pa.string()))
    assert read_absent(workspace) == {}
    parts = write_manifest(workspace, table)
    assert read_absent(workspace) == {"/19.txt": "unlisted"}
    assert absent_items(workspace).to_pylist() == [{"uri": "/19.txt", "absent": "unlisted"}]
    own = workspace.unit_of("/19.txt")
    assert {unit: dict(read_manifest_unit(workspace, unit).absent) for unit in parts} == {
        unit: {"/19.txt": "unlisted"} if unit == own else {} for unit in parts
    }


def test_a_unit_of_a_manifest_that_was_replaced_is_the_new_one(workspace: Workspace) -> None:
    (unit, *_) = write_manifest(workspace, manifest_table(ITEMS))
    assert len(read_manifest_unit(workspace, unit).items) > 1
    write_manifest(workspace, manifest_table(ITEMS[:1]))
    assert read_manifest_unit(workspace, workspace.unit_of("/0.txt")).items == ITEMS[:1]


def test_a_damaged_manifest_is_an_error_that_says_what_to_do(workspace: Workspace) -> None:
    write_manifest(workspace, manifest_table(ITEMS))
    read_manifest_unit(workspace, 0)
    path = workspace.manifest.local()
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    for read in (lambda: read_manifest_unit(workspace, 0), lambda: read_listed(workspace, ["uri"])):
        with pytest.raises(DatasetError, match="damaged.*run `longreel survey` again"):
            read()
    assert read_absent(workspace) == {}
