"""Rows of Parquet files, of which some cannot be converted or are damaged."""

from __future__ import annotations

import datetime
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.parquet_rows import parquet_columns, parquet_rows
from schemas.errors import ManifestError, Reason
from tests.support.inputs.parquet_files import damage_row_group, not_utf8


def test_rows_have_their_number_and_the_chosen_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}), tmp_path / "t.parquet", row_group_size=2)
    assert parquet_columns(tmp_path / "t.parquet") == ["a", "b"]
    assert [tuple(row) for row in parquet_rows(tmp_path / "t.parquet", ["b"])] == [
        (0, 1, {"b": "x"}, None),
        (1, 2, {"b": "y"}, None),
        (2, 3, {"b": "z"}, None),
    ]
    assert [row.position for row in parquet_rows(tmp_path / "t.parquet", [])] == [0, 1, 2]


@pytest.mark.parametrize(
    "column",
    [
        not_utf8([b"good", b"caf\xe9", b"good"]),
        not_utf8([b"good", b"caf\xe9", b"good"], pa.large_string()),
        not_utf8([b"good", b"caf\xe9", b"good"]).dictionary_encode(),
        pa.array([{"name": "a"}] * 3).from_arrays([not_utf8([b"good", b"\xff", b"good"])], ["name"]),
        pa.ListArray.from_arrays([0, 1, 2, 3], not_utf8([b"good", b"\xff", b"good"])),
    ],
    ids=["string", "large string", "dictionary", "struct", "list"],
)
def test_a_value_that_is_not_utf8_costs_its_row(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"uri": ["a", "b", "c"], "title": column}), tmp_path / "t.parquet")
    first, second, third = parquet_rows(tmp_path / "t.parquet", ["uri", "title"])
    assert first.error is third.error is None
    assert second.values["uri"] == "b"
    assert second.error is not None
    assert second.error.reason is Reason.INVALID_ROW
    assert "column 'title' is not valid UTF-8" in str(second.error)


def test_a_date_that_python_does_not_have_costs_its_row(tmp_path: Path) -> None:
    dates = pa.array([0, 10**9, 1], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"uri": ["a", "b", "c"], "date": dates}), tmp_path / "t.parquet")
    first, second, third = parquet_rows(tmp_path / "t.parquet", ["uri", "date"])
    assert first.values == {"uri": "a", "date": datetime.date(1970, 1, 1)}
    assert third.error is None
    assert "column 'date' cannot be read" in str(second.error)


def test_a_file_that_declares_more_rows_than_it_can_hold_is_refused(tmp_path: Path) -> None:
    rows = pa.table({"text": [f"text {n}" for n in range(300)]})
    pq.write_table(rows, tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    lying = footer.replace(b"\xd8\x04", b"\xff\xff\xff\xff\x0f")  # 300 in zigzag; now 2 ** 31
    assert lying != footer
    (tmp_path / "t.parquet").write_bytes(data[: -8 - len(footer)] + lying + len(lying).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(ManifestError, match="is damaged: it declares row groups of"):
        list(parquet_rows(tmp_path / "t.parquet", []))


def test_a_damaged_row_group_costs_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [f"row {n}" * 50 for n in range(9)]}), path, row_group_size=3)
    damage_row_group(path, 1)
    found = list(parquet_rows(path, ["a"]))
    assert [row.error is None for row in found] == [True] * 3 + [False] * 3 + [True] * 3
    assert [row.position for row in found] == list(range(9))
    assert found[3].error is not None
    assert found[3].error.reason is Reason.UNREADABLE
    assert "row group 1 of the file is damaged" in str(found[3].error)


@pytest.mark.parametrize("content", [b"", b"PAR1 is not enough", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_not_parquet_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(ManifestError, match="is not a readable Parquet file"):
        parquet_columns(tmp_path / "t.parquet")
    with pytest.raises(ManifestError, match="is not a readable Parquet file"):
        list(parquet_rows(tmp_path / "t.parquet", []))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "list of texts", "list of numbers"])
def test_long_values_that_a_few_bytes_repeat_are_converted_one_at_a_time(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.parquet_rows._MAX_BYTES", 32 << 20)
    value = "x" * 2_000_000
    column = {
        "text": [value] * 40,
        "list of texts": [[value]] * 40,
        "list of numbers": [[7] * 40_000] * 40,
    }[kind]
    pq.write_table(pa.table({"uri": [f"{n}.txt" for n in range(40)], "title": column}), tmp_path / "t.parquet")
    tracemalloc.start()
    try:
        rows = [row.values["title"] == column[0] for row in parquet_rows(tmp_path / "t.parquet", ["uri", "title"])]
        assert rows == [True] * 40
        assert tracemalloc.get_traced_memory()[1] < 15_000_000  # the texts take 80 MB all at once
    finally:
        tracemalloc.stop()


def test_a_row_that_takes_too_much_memory_costs_that_row(tmp_path: Path) -> None:
    numbers = pa.array(np.full(5_000_004, 7, np.int8))
    lists = pa.ListArray.from_arrays([0, 2, 5_000_002, 5_000_004], numbers)
    pq.write_table(pa.table({"uri": ["a", "b", "c"], "n": lists}), tmp_path / "t.parquet")
    first, second, third = parquet_rows(tmp_path / "t.parquet", ["uri", "n"])
    assert (first.values, third.values) == ({"uri": "a", "n": [7, 7]}, {"uri": "c", "n": [7, 7]})
    assert second.error is not None
    assert second.error.reason is Reason.TOO_LARGE


def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.parquet_rows._MAX_UNCHECKED_BYTES", 1 << 20)
    texts = pa.table({"text": ["x" * 1_000_000] * 8})
    pq.write_table(texts, tmp_path / "t.parquet", use_dictionary=False, compression="zstd", write_statistics=False)
    with pytest.raises(
        ManifestError, match="the column 'text' unpacks from .* to 8,.* bytes, .*: a decompression bomb"
    ):
        list(parquet_rows(tmp_path / "t.parquet", []))
