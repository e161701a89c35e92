"""Rows of questions are read from three formats, and a file that is none is one error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.evaluation.files.rows import read_rows
from schemas.errors import ConfigError

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_all_formats_give_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    (tmp_path / "r.json").write_text(json.dumps(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "r.parquet")
    for name in ("r.jsonl", "r.json", "r.parquet"):
        assert list(read_rows(tmp_path / name, ("a", "b"))) == ROWS


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b'"text"', b'{"a": 1}', b'{"a": 1, "b": null}'])
@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_another_file_is_one_error_with_its_name(tmp_path: Path, data: bytes, ending: str) -> None:
    path = tmp_path / f"r.{ending}"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=rf"r\.{ending}"):
        list(read_rows(path, ("a", "b")))


def test_a_missing_file_and_a_pipe_are_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("none.jsonl", "pipe.jsonl", "none.parquet"):
        with pytest.raises(ConfigError, match=name):
            list(read_rows(tmp_path / name, ("a",)))


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_file_of_millions_of_values_is_an_error(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.json_values._MAX_PARTS", 1000)
    (tmp_path / f"r.{ending}").write_text("[" + "{}," * 1000 + "{}]")
    with pytest.raises(ConfigError, match=r"r\.json.* has more than 1,000 brackets"):
        list(read_rows(tmp_path / f"r.{ending}", ("a",)))


def test_a_json_file_beyond_the_limit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.evaluation.files.rows._MAX_BYTES", 10)
    (tmp_path / "r.json").write_text(json.dumps(ROWS))
    with pytest.raises(ConfigError, match="it has more than 10 bytes"):
        list(read_rows(tmp_path / "r.json", ("a",)))
