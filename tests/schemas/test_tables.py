from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import DatasetError
from schemas.tables import check_table, open_table, read_part, read_table, table_writer, write_table
from tests.support.bit_flips import flips

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}).replace_schema_metadata({"key": "value"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_table(tmp_path / "t.parquet", TABLE, row_group_size=2)
    return tmp_path / "t.parquet"


def test_a_table_is_read_as_it_was_written(path: Path) -> None:
    assert read_table(path).equals(TABLE)
    assert read_table(path).schema.metadata == {b"key": b"value"}
    assert read_table(path, ["b"], filters=[("a", ">", 1)]).to_pydict() == {"b": ["y", "z"]}
    with open_table(path) as file:
        assert file.num_row_groups == 2


def test_other_readers_can_read_a_table(path: Path) -> None:
    assert pq.read_table(path).equals(TABLE)


def test_the_same_table_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "again.parquet", TABLE, row_group_size=2)
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("size", [100, 70_000, 1_000_000])
def test_metadata_of_any_size_and_many_row_groups_are_covered(size: int, tmp_path: Path) -> None:
    wide = TABLE.replace_schema_metadata({"key": "v" * size})
    long = pa.concat_tables([wide] * 300)
    write_table(tmp_path / "t.parquet", long, row_group_size=1)
    assert read_table(tmp_path / "t.parquet").equals(long)
    for _ in flips(tmp_path / "t.parquet", 20):
        with pytest.raises(DatasetError, match=r"t\.parquet cannot be read"):
            check_table(tmp_path / "t.parquet")


def test_flipped_bits_are_found(path: Path) -> None:
    for _ in flips(path, 300):
        with pytest.raises(DatasetError, match=r"t\.parquet cannot be read"):
            check_table(path)


def test_every_truncation_is_found(path: Path) -> None:
    data = path.read_bytes()
    for size in range(0, len(data), 31):
        path.write_bytes(data[:size])
        with pytest.raises(DatasetError, match=r"t\.parquet cannot be read"):
            check_table(path)


def test_a_table_without_a_checksum_is_rejected(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="it has no checksum"):
        read_table(tmp_path / "t.parquet")


def test_a_missing_file_folder_or_column_is_an_error(path: Path, tmp_path: Path) -> None:
    for place in (tmp_path / "gone", tmp_path):
        with pytest.raises(DatasetError, match="cannot be read"):
            check_table(place)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_table(path, ["c"])


def test_a_failed_write_keeps_the_old_table(path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"), table_writer(path, TABLE.schema):
        raise ValueError("no rows")
    assert read_table(path).equals(TABLE)
    assert [p.name for p in path.parent.iterdir()] == ["t.parquet"]


def test_a_part_of_a_file_is_read_without_the_rest_and_damage_is_found_once_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, pa.table({"unit": [0, 0, 1], "n": [1, 2, 3]}), row_group_size=1)
    assert read_part(path, filters=[("unit", "=", 0)])["n"].to_pylist() == [1, 2]
    assert read_part(path, ["n"], filters=[("unit", "=", 1)]).to_pydict() == {"n": [3]}
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="damaged"):
        read_part(path, filters=[("unit", "=", 0)])
    path.unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        read_part(path, filters=[("unit", "=", 0)])
