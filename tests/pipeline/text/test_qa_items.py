from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.text.qa import QaConfig, Turn, read_turns
from pipeline.text.qa_items import DOCUMENTS, MANIFEST, QaItem, write_qa_items
from schemas.errors import ConfigError

TURNS = [Turn("context", "Ü\n "), Turn("answer", "a")]


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert write_qa_items([QaItem("one", TURNS, {"title": "One"})], tmp_path) == 1
    [row] = [json.loads(line) for line in (tmp_path / MANIFEST).read_text().splitlines()]
    assert row == {"uri": str(tmp_path / DOCUMENTS / "one.qa.json"), "kind": "qa", "title": "One"}
    assert read_turns(Path(row["uri"]), QaConfig()) == TURNS


def test_documents_of_an_earlier_run_are_replaced_and_those_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / DOCUMENTS).mkdir()
    (tmp_path / DOCUMENTS / "own.qa.json").write_text("{}")
    write_qa_items([QaItem("one", TURNS, {}), QaItem("two", TURNS, {})], tmp_path)
    write_qa_items([QaItem("two", TURNS, {})], tmp_path)
    assert sorted(path.name for path in (tmp_path / DOCUMENTS).iterdir()) == ["own.qa.json", "two.qa.json"]
    (tmp_path / MANIFEST).write_text('[1]\n{"uri": "/elsewhere/own.txt"}\n')
    assert write_qa_items([], tmp_path) == 0
    assert sorted(path.name for path in (tmp_path / DOCUMENTS).iterdir()) == ["own.qa.json", "two.qa.json"]


def test_a_run_that_is_killed_leaves_no_manifest_of_documents_of_two_runs(tmp_path: Path) -> None:
    def killed() -> Iterator[QaItem]:
        yield QaItem("one", TURNS[1:], {})
        raise KeyboardInterrupt

    write_qa_items([QaItem("one", TURNS, {}), QaItem("two", TURNS, {})], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_qa_items(killed(), tmp_path)
    assert not (tmp_path / MANIFEST).exists()


def test_a_folder_that_no_manifest_can_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not valid UTF-8, .*choose another --out"):
        write_qa_items([QaItem("one", TURNS, {})], tmp_path / "a\udcff")
    assert list(tmp_path.iterdir()) == []
