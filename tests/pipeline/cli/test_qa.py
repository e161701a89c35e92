from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import longreel
from schemas.runs.folder_lock import locked_folder
from tests.support.servers.chat_server import Answer, ChatServer, chat_server, prompt_of
from tests.support.texts import story

pytestmark = pytest.mark.slow


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
        assert "1 book," in printed.out
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


def asked(server: ChatServer) -> Counter[str]:
    return Counter(json.dumps(body, sort_keys=True) for body in server.requests)


def test_a_killed_run_continues_with_the_requests_that_were_not_answered(tmp_path: Path) -> None:
    book = tmp_path / "one.txt"
    book.write_text(story(1, 40))
    options = ["qa", str(book), "--chunk-words", "100", "--tasks", "fact", "name", "--concurrency", "1"]
    kills: dict[int, subprocess.Popen[bytes]] = {}  # the process that is killed when this request arrives

    def killing(body: dict[str, Any]) -> Answer:
        process = kills.pop(len(server.requests), None)
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return reply(body)

    with chat_server(killing) as server:
        command = [*options, "--endpoint", server.address, "--out"]
        assert longreel.main([*command, str(tmp_path / "whole")]) == 0
        expected = asked(server)
        server.requests.clear()
        script = [sys.executable, "-P", "-m", "longreel", *command, str(tmp_path / "killed")]
        with subprocess.Popen(script) as process:
            kills[5] = process
            try:
                assert process.wait(120) == -signal.SIGKILL
            finally:
                process.kill()
        assert longreel.main([*command, str(tmp_path / "killed")]) == 0
        found = asked(server)
    assert found.keys() == expected.keys()
    assert found.total() == expected.total() + 1  # the one that was under way
    whole, killed = (tmp_path / name / "pairs.jsonl" for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()


def test_a_second_command_with_the_same_output_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book, out = tmp_path / "book.txt", tmp_path / "qa"
    book.write_text(story(1, 5))
    with locked_folder(out), chat_server(reply) as server:
        assert longreel.main(["qa", str(book), "--out", str(out), "--endpoint", server.address]) == 1
        assert server.requests == []
    assert f"{out} is in use by another longreel command" in capsys.readouterr().err
