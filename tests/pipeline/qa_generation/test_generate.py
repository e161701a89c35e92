"""Questions about books, asked of a server whose replies are scripted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.language_models.endpoint import Endpoint
from pipeline.qa_generation.config import QaGeneration
from pipeline.qa_generation.generate import PAIRS, NamedBook, generate
from pipeline.text.books import Book
from pipeline.text.qa import QaConfig, read_turns
from pipeline.text.qa_items import DOCUMENTS, MANIFEST
from schemas.errors import ConfigError, JobError
from tests.support.servers.chat_server import Answer, ChatServer, chat_server, prompt_of

CONFIG = QaGeneration(tasks=("fact",), chunk_words=40, document_words=300)
PLACES = [f"In the year {1800 + n} the captain number{n} sailed to the harbor of Town{n}. " for n in range(6)]
TEXT = "\n".join(place + "Waves rose and fell. " * 8 for place in PLACES)


def book(name: str = "voyages", text: str = TEXT) -> NamedBook:
    return NamedBook.of(Path(f"{name}.txt"), Book(text, "text", "utf-8", {}), CONFIG)


def scripted(body: dict[str, Any]) -> Answer:
    """Ask where each captain sailed; what is asked without a passage is answered for the first one only."""
    prompt = prompt_of(body)
    if "Passage:" not in prompt:
        return Answer("It was Town0, of course." if "number0" in prompt else "unknown")
    number = re.findall(r"number(\d)", prompt)[0]
    replies = {
        "1": "I cannot do that",
        "2": '{"question": "Where did number2 sail?", "answer": "Paris"}',
        "3": '{"question": "Where did number5 sail?", "answer": "town3"}',
    }
    reply = {"question": f"Where did number{number} sail?", "answer": f"Town{number}"}
    return Answer(replies.get(number) or json.dumps(reply))


def asked(server: ChatServer, out: Path, config: QaGeneration = CONFIG, **options: Any) -> dict[str, Any]:
    return generate([book()], Endpoint(server.address), out, config, **{"concurrency": 3} | options)


def test_pairs_are_kept_or_rejected_with_their_reason_and_every_kept_answer_is_located(tmp_path: Path) -> None:
    with chat_server(scripted) as server:
        summary = asked(server, tmp_path, facts={"license": "CC0-1.0"})
    assert summary["rejected"] == {"malformed": 1, "not_in_chunk": 1, "duplicate": 1, "without_chunk": 1}
    assert (summary["questions"], summary["kept"], summary["not_asked"]) == (6, 2, 0)
    pairs = [json.loads(line) for line in (tmp_path / PAIRS).read_text().splitlines()]
    kept = [pair for pair in pairs if pair["rejection"] is None]
    assert (
        [TEXT[slice(*pair["answer_span"])] for pair in kept] == [pair["answer"] for pair in kept] == ["Town3", "Town4"]
    )
    rows = [json.loads(line) for line in (tmp_path / MANIFEST).read_text().splitlines()]
    assert {row["license"] for row in rows} == {"CC0-1.0"}
    assert [len(row["metadata"]["pairs"]) for row in rows] == [2]
    turns = read_turns(Path(rows[0]["uri"]), QaConfig())
    assert [turn.text for turn in turns if turn.role == "answer"] == ["Town3", "Town4"]
    assert "".join(turn.text for turn in turns if turn.role == "context") in TEXT


def test_a_second_run_asks_nothing_and_writes_the_same(tmp_path: Path) -> None:
    with chat_server(scripted) as server:
        asked(server, tmp_path)
        count, before = (
            len(server.requests),
            {p: p.read_bytes() for p in tmp_path.rglob("*.json*") if p.name != "summary.json"},
        )
        assert asked(server, tmp_path)["requests"] == 0
        assert len(server.requests) == count
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_that_is_cut_short_continues_without_asking_again(tmp_path: Path) -> None:
    left = [4]

    def fails_later(body: dict[str, Any]) -> Answer:
        left[0] -= 1
        return scripted(body) if left[0] >= 0 else Answer("not found here", status=401)

    with chat_server(fails_later) as server:
        with pytest.raises(JobError, match="401"):
            asked(server, tmp_path)
        made = len((tmp_path / "replies.jsonl").read_text().splitlines())
        left[0] = 1000
        summary = asked(server, tmp_path)
    assert made >= 1
    prompts = [prompt_of(body) for body in server.requests]
    answered = [prompt for prompt in set(prompts) if prompts.count(prompt) == 1]
    assert len(answered) >= made
    assert summary["kept"] == 2


def test_the_budget_ends_asking_and_the_next_run_continues(tmp_path: Path) -> None:
    limited = QaGeneration(tasks=("fact",), chunk_words=40, document_words=300, max_requests=3)
    with chat_server(scripted) as server:
        first = asked(server, tmp_path, limited, concurrency=1)
        assert (len(server.requests), first["requests"]) == (3, 3)
        assert first["not_asked"] >= 3
        assert asked(server, tmp_path, concurrency=1)["not_asked"] == 0
        assert len(server.requests) == len({prompt_of(body) for body in server.requests})


def test_documents_that_are_not_made_any_more_are_removed(tmp_path: Path) -> None:
    with chat_server(scripted) as server:
        asked(server, tmp_path, QaGeneration(tasks=("fact",), chunk_words=40, document_words=45))
        assert len(list((tmp_path / DOCUMENTS).iterdir())) == 2
        asked(server, tmp_path)
    assert len(list((tmp_path / DOCUMENTS).iterdir())) == 1


def test_names_of_documents_are_as_short_as_file_systems_need() -> None:
    assert book("ü" * 120).name == "ü" * 40
    assert book("誰" * 80).name == "誰" * 26


def test_books_without_words_are_an_error(tmp_path: Path) -> None:
    with chat_server(scripted) as server, pytest.raises(ConfigError, match="no text to ask about"):
        generate([book(text="* * *")], Endpoint(server.address), tmp_path, CONFIG)
