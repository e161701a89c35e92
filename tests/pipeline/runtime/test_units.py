"""Units of a workspace: names of their files, and tables that are read with their schema."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.runtime.units import read_rows, unit_files, unit_name, unit_number
from schemas.errors import DatasetError
from schemas.storage.location import located
from schemas.tables import write_table

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string())])
TABLE = pa.table({"a": [1, 2], "b": ["x", None]}, SCHEMA)


@pytest.mark.parametrize("unit", [0, 7, 99_999])
def test_a_unit_number_is_read_from_the_name_of_its_file(unit: int) -> None:
    assert unit_number(located(Path("tokens") / f"{unit_name(unit)}.parquet")) == unit


def test_unit_files_are_sorted_and_exclude_temporary_files(tmp_path: Path) -> None:
    for name in ("unit-00010.parquet", "unit-00002.parquet", ".unit-00003.parquet.1.tmp", "store.json"):
        (tmp_path / name).touch()
    assert [path.name for path in unit_files(located(tmp_path))] == ["unit-00002.parquet", "unit-00010.parquet"]


def test_rows_are_read_with_all_columns_or_those_requested_in_their_order(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", TABLE.replace_schema_metadata({"x": "y"}))
    assert read_rows(located(tmp_path / "t.parquet"), SCHEMA).equals(TABLE, check_metadata=True)
    assert read_rows(located(tmp_path / "t.parquet"), SCHEMA, ["b", "a"]).column_names == ["b", "a"]


def test_a_missing_or_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 garbage")
    for name in ("missing.parquet", "damaged.parquet"):
        with pytest.raises(DatasetError, match=rf"{name} cannot be read .*; run the job that writes it again"):
            read_rows(located(tmp_path / name), SCHEMA)


def test_a_file_with_another_schema_is_an_error(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", TABLE.drop_columns("b"))
    with pytest.raises(DatasetError, match="was written by another version; run the job that writes it again"):
        read_rows(located(tmp_path / "t.parquet"), SCHEMA)
