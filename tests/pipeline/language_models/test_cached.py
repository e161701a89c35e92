"""Replies are kept: nothing is asked twice, and a killed process loses at most one reply."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.language_models.cached import CachedModel
from pipeline.language_models.chat import ChatRequest, Reply, RequestRefused, user_request
from schemas.errors import JobError


@dataclass
class Echo:
    """Repeats the question, counts what it is asked, and refuses or fails when told so."""

    name: str = "echo"
    asked: list[str] = field(default_factory=list)

    def ask(self, request: ChatRequest) -> Reply:
        text = request.messages[-1].text
        self.asked.append(text)
        if text == "refuse":
            raise RequestRefused("never")
        if text == "fail":
            raise JobError("later")
        return Reply(text=text, finish_reason="stop", prompt_tokens=1)

    def choose(self, request: ChatRequest, choices: tuple[str, ...]) -> tuple[float, ...]:
        self.asked.append("choose")
        return tuple(-float(i) if i else -float("inf") for i, _ in enumerate(choices))


def question(text: str) -> ChatRequest:
    return user_request(text, max_tokens=5)


def test_nothing_is_asked_twice_by_the_same_or_another_process(tmp_path: Path) -> None:
    model = Echo()
    for _ in range(2):
        cached = CachedModel(model, tmp_path / "replies.jsonl")
        assert (
            cached.ask(question("a"))
            == cached.ask(question("a"))
            == Reply(text="a", finish_reason="stop", prompt_tokens=1)
        )
        assert cached.choose(question("a"), ("x", "y")) == (-float("inf"), -1.0)
        with pytest.raises(RequestRefused, match="never"):
            cached.ask(question("refuse"))
    assert model.asked == ["a", "choose", "refuse"]
    other = Echo(name="another model")
    CachedModel(other, tmp_path / "replies.jsonl").ask(question("a"))
    assert other.asked == ["a"]


@pytest.mark.parametrize("text", ["a", "refuse", "fail"])
def test_equal_requests_under_way_are_sent_once(tmp_path: Path, text: str) -> None:
    arrived, answered = threading.Event(), threading.Event()

    class Slow(Echo):
        def ask(self, request: ChatRequest) -> Reply:
            arrived.set()
            answered.wait(10)
            return super().ask(request)

    model = Slow()
    cached = CachedModel(model, tmp_path / "replies.jsonl")

    def outcome() -> object:
        try:
            return cached.ask(question(text))
        except JobError as e:
            return str(e)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(outcome)
        assert arrived.wait(10)
        others = [pool.submit(outcome) for _ in range(2)]
        while any(not other.running() for other in others):
            time.sleep(0.001)
        time.sleep(0.05)
        answered.set()
        assert first.result() == others[0].result() == others[1].result()
    assert model.asked == [text]


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    model = Echo()
    cached = CachedModel(model, tmp_path / "replies.jsonl")
    for _ in range(2):
        with pytest.raises(JobError, match="later"):
            cached.ask(question("fail"))
    assert model.asked == ["fail", "fail"]


@pytest.mark.parametrize("altered", [b'"b"', b'"stop"', b"checksum", b'"text"'])
def test_a_reply_that_was_altered_on_disk_is_asked_again(tmp_path: Path, altered: bytes) -> None:
    path, model = tmp_path / "replies.jsonl", Echo()
    cached = CachedModel(model, path)
    for text in "ab":
        cached.ask(question(text))
    first, second = path.read_bytes().splitlines(keepends=True)
    assert altered in second
    path.write_bytes(first + second.replace(altered, altered[:-2] + b'z"' if altered.endswith(b'"') else b"checkzum"))
    again = CachedModel(model, path)
    assert [again.ask(question(text)).text for text in "ab"] == ["a", "b"]
    assert model.asked == ["a", "b", "b"]


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_is_cut_off_costs_one_reply(tmp_path: Path, cut: int) -> None:
    path, model = tmp_path / "replies.jsonl", Echo()
    cached = CachedModel(model, path)
    for text in "ab":
        cached.ask(question(text))
    path.write_bytes(path.read_bytes()[:-cut])
    again = CachedModel(model, path)
    for text in "abc":
        assert again.ask(question(text)).text == text
    last = CachedModel(model, path)
    for text in "abc":
        assert last.ask(question(text)).text == text
    assert model.asked == ["a", "b", *([] if cut == 1 else ["b"]), "c"]
