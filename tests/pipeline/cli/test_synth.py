from __future__ import annotations

import json
from pathlib import Path

import pytest

import longreel
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text tokenizer and a book."""
    folder = tmp_path_factory.mktemp("synth")
    text_tokenizer("own", [story(1, 60)], folder / "t.model")
    (folder / "book.txt").write_text(story(1, 200))
    return folder


@pytest.mark.parametrize(
    ("task", "source", "options"),
    [
        ("needle", "needle-1000", ("--haystack", "book.txt", "--needles", "2", "--length", "1000")),
        ("copy", "copies", ("--repeats", "2", "--length", "1000", "--source", "copies", "--license", "CC0-1.0")),
        ("ruler", "ruler-2500", ("--tasks", "vt", "niah_single_2", "--haystack", "book.txt", "--length", "2500")),
    ],
)
def test_items_are_written_with_a_manifest(
    place: Path, capsys: pytest.CaptureFixture[str], task: str, source: str, options: tuple[str, ...]
) -> None:
    words = [str(place / word) if word == "book.txt" else word for word in options]
    where = ["--text-tokenizer", str(place / "t.model"), "--out", str(place / task)]
    assert longreel.main(["synth", task, *words, *where, "--count", "2", "--seed", "5"]) == 0
    assert f"synth {task}: 2 documents" in capsys.readouterr().err
    rows = [json.loads(line) for line in (place / task / "manifest.jsonl").read_text().splitlines()]
    assert [row["metadata"]["number"] for row in rows] == [0, 1]
    assert {(row["metadata"]["seed"], row["source"]) for row in rows} == {(5, source)}
    assert ("haystack" in rows[0]["metadata"]) == (task != "copy")
    assert (place / task / f"synth-{task}.toml").exists()


def test_a_text_that_is_too_short_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--text-tokenizer", str(place / "t.model"), "--out", str(place / "none")]
    assert longreel.main(["synth", "needle", "--haystack", str(place / "book.txt"), "--length", "99999", *where]) == 1
    assert "give longer texts with --haystack" in capsys.readouterr().err
