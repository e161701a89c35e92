"""A suite is asked once, interrupted and continued, and its results are written whole."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.evaluation.run import read_results, run_suite
from pipeline.evaluation.sample import Sample
from pipeline.language_models.chat import ChatRequest, Reply, RequestRefused, user_request
from schemas.errors import ConfigError, JobError


@dataclass
class Calculator:
    """Adds the two numbers of a question; refuses large ones; fails after `until` questions."""

    until: int = 10**6
    name: str = "calculator"
    asked: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, request: ChatRequest) -> Reply:
        text = request.messages[-1].text
        with self.lock:
            if self.asked.total() >= self.until:
                raise JobError("the server is down")
            self.asked[text] += 1
        one, other = map(int, text.split("+"))
        if one > 17:
            raise RequestRefused("too large")
        return Reply(text=f"It is {one + other}.", finish_reason="stop", prompt_tokens=3)

    def choose(self, request: ChatRequest, choices: tuple[str, ...]) -> tuple[float, ...]:
        reply = self.ask(request).text
        return tuple(0.0 if choice in reply else -float("inf") for choice in choices)


def samples(count: int = 20) -> list[Sample]:
    return [
        Sample(
            id=f"sum/{n}",
            task="even" if n % 2 == 0 else "odd",
            request=user_request(f"{n}+{n}", max_tokens=5),
            references=(str(2 * n if n != 5 else 11),),
            scorer="contains_all",
            length=10 * (n % 3 + 1),
        )
        for n in range(count)
    ]


def test_every_sample_is_asked_once_and_scored(tmp_path: Path) -> None:
    model = Calculator()
    seen: list[int] = []
    summary = run_suite("sums", samples(), model, tmp_path / "out", concurrency=4, progress=seen.append)
    assert set(model.asked.values()) == {1}
    assert seen == list(range(1, 21))
    assert (summary["all"]["samples"], summary["all"]["refused"], summary["all"]["score"]) == (20, 2, 17 / 20)
    results = read_results(tmp_path / "out")
    assert [result.id for result in results] == [sample.id for sample in samples()]
    assert [result.id for result in results if result.score == 0] == ["sum/5", "sum/18", "sum/19"]
    assert results[19].refused == "too large"
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["model"] == "calculator"
    assert (tmp_path / "out" / "report.html").exists()


def test_an_interrupted_evaluation_asks_only_what_is_missing(tmp_path: Path) -> None:
    out, model = tmp_path / "out", Calculator(until=7)
    with pytest.raises(JobError, match="the server is down"):
        run_suite("sums", samples(), model, out, concurrency=3)
    with pytest.raises(ConfigError, match="has no results"):
        read_results(out)
    model.until = 10**6
    run_suite("sums", samples(), model, out, concurrency=3)
    assert model.asked == Counter(f"{n}+{n}" for n in range(20))
    straight = tmp_path / "straight"
    run_suite("sums", samples(), Calculator(), straight)
    for name in ("results.jsonl", "summary.json", "report.html"):
        assert (out / name).read_bytes() == (straight / name).read_bytes()


def test_choices_are_scored_by_their_log_probability(tmp_path: Path) -> None:
    sample = Sample(
        id="a",
        task="t",
        request=user_request("2+3", max_tokens=1),
        references=("5",),
        scorer="contains_all",
        choices=("4", "5"),
    )
    run_suite("choice", [sample], Calculator(), tmp_path)
    (result,) = read_results(tmp_path)
    assert (result.reply, result.score) == ("5", 1)


def test_a_suite_without_samples_and_damaged_results_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the suite none has no samples"):
        run_suite("none", [], Calculator(), tmp_path)
    (tmp_path / "results.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(ConfigError, match="is damaged"):
        read_results(tmp_path)
