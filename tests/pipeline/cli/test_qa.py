from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import longreel
from tests.support.servers.chat_server import Answer, chat_server, prompt_of
from tests.support.texts import story


def reply(body: dict[str, Any]) -> Answer:
    prompt = prompt_of(body)
    if "Passage:" not in prompt:
        return Answer("unknown")
    words = prompt.split("Passage:\n")[1].split()
    return Answer(json.dumps({"question": f"Which words begin part {len(words)}?", "answer": " ".join(words[:4])}))


def test_books_of_a_folder_become_items_of_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    books, out = tmp_path / "books", tmp_path / "qa"
    books.mkdir()
    (books / "one.txt").write_text(story(1, 30))
    (books / "bad.txt").write_bytes(bytes(range(256)) * 4)
    (books / "link.txt").symlink_to("/etc/passwd")
    command = ["qa", str(books), "--out", str(out), "--chunk-words", "200", "--tasks", "fact", "--source", "written"]
    with chat_server(reply) as server:
        assert longreel.main([*command, "--endpoint", server.address, "--dry-run", "--price-in", "2"]) == 0
        assert server.requests == []
        printed = capsys.readouterr()
        assert "1 books" in printed.out
        assert "price 0.0" in printed.out
        assert "bad.txt is left out" in printed.err
        assert longreel.main([*command, "--endpoint", server.address, "--no-without-chunk"]) == 0
    printed = capsys.readouterr()
    assert "kept" in printed.out
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [(row["kind"], row["source"], row["title"]) for row in rows] == [("qa", "written", "one")]
    assert (out / "qa.toml").exists()


def test_a_missing_book_and_a_missing_model_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = tmp_path / "book.txt"
    book.write_text(story(1, 5))
    assert (
        longreel.main(["qa", str(tmp_path / "no.txt"), "--out", str(tmp_path / "qa"), "--endpoint", "http://x/v1"]) == 1
    )
    assert "there is no file or folder" in capsys.readouterr().err
    assert longreel.main(["qa", str(book), "--out", str(tmp_path / "qa")]) == 2
    assert "give either --endpoint" in capsys.readouterr().err
