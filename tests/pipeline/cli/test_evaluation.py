"""The commands `eval needle`, `eval ruler` and `compare`, with a server that reads its prompts perfectly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import longreel
from schemas.runs.folder_lock import locked_folder
from tests.support.servers.chat_server import Answer, chat_server, prompt_of
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text tokenizer and two books."""
    folder = tmp_path_factory.mktemp("evaluation")
    texts = [story(n, 60) for n in range(2)]
    text_tokenizer("own", texts, folder / "t.model")
    for n, text in enumerate(texts):
        (folder / f"{n}.txt").write_text(text)
    return folder


def reader(body: dict[str, Any]) -> Answer:
    """Return the numbers of the city that is asked for."""
    prompt = prompt_of(body)
    city = re.findall(r"What is the special magic (.+) number\?", prompt)[-1]
    return Answer("It is " + ", ".join(re.findall(rf"special magic {city} number is: (\d+)", prompt)))


def evaluate(place: Path, address: str, name: str, *options: str, suite: str = "needle", code: int = 0) -> Path:
    model = ["--endpoint", address, "--text-tokenizer", str(place / "t.model"), "--retries", "0"]
    books = [str(place / "0.txt"), str(place / "1.txt")]
    out = place / name
    assert longreel.main(["eval", suite, "--out", str(out), "--haystack", *books, *model, *options]) == code
    return out


def test_two_evaluations_do_not_write_to_one_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked_folder(place / "busy"):
        evaluate(place, "http://127.0.0.1:9/v1", "busy", code=1)
    assert "is in use by another longreel command" in capsys.readouterr().err


def test_a_perfect_reader_scores_one_and_is_compared_with_a_worse_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--lengths", "600", "900", "--depths", "3", "--rounds", "2"]
    with chat_server(reader) as server:
        first = evaluate(place, server.address, "perfect", *options)
        assert "100.0 %" in capsys.readouterr().out
        assert len(server.requests) == 12
        evaluate(place, server.address, "perfect", *options)
        assert len(server.requests) == 12
    with chat_server(lambda body: Answer("I do not know.")) as server:
        second = evaluate(place, server.address, "worse", *options)
    summary = json.loads((first / "summary.json").read_text())
    assert summary["options"]["depths"] == 3
    assert len(summary["cells"]) == 6
    assert {"replies.jsonl", "report.html", "results.jsonl", "scores.png", "summary.json", "eval-needle.toml"} == {
        path.name for path in first.iterdir()
    }
    capsys.readouterr()
    assert longreel.main(["compare", str(first), str(second), "--json"]) == 0
    (row, _) = json.loads(capsys.readouterr().out)
    assert (row["first"], row["second"], row["difference"], row["samples"]) == (1, 0, -1, 12)
    assert longreel.main(["compare", str(first), str(second)]) == 0
    assert "-100.0" in capsys.readouterr().out


def test_the_text_tokenizer_of_a_server_must_be_given_and_that_of_a_run_is_known(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "needle", "--haystack", str(place / "0.txt"), "--out", str(place / "none")]
    assert longreel.main([*command, "--endpoint", "http://127.0.0.1:9/v1"]) == 2
    assert "--endpoint needs --text-tokenizer" in capsys.readouterr().err
    assert longreel.main([*command, "--model", str(place / "no-run")]) != 0
    assert f"{place / 'no-run'} is not a folder" in capsys.readouterr().err
    (place / "no-run").mkdir()
    assert longreel.main([*command, "--model", str(place / "no-run")]) != 0
    assert str(place / "no-run" / "text_tokenizer") in capsys.readouterr().err


def test_ruler_runs_all_tasks(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with chat_server(lambda body: Answer("nothing")) as server:
        out = evaluate(place, server.address, "ruler", "--lengths", "2500", "--samples", "1", suite="ruler")
    assert len(json.loads((out / "summary.json").read_text())["tasks"]) == 11


def test_a_server_that_cannot_be_reached_is_one_error(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(place, "http://127.0.0.1:9/v1", "unreachable", "--lengths", "600", code=1)
    error = capsys.readouterr().err
    assert "http://127.0.0.1:9/v1 cannot be reached" in error
    assert "Traceback" not in error


def test_wrong_usage_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["eval"]) == 2
    assert "eval needs one of loss, needle, ruler, " in capsys.readouterr().err
    assert longreel.main(["compare", str(tmp_path), str(tmp_path)]) == 1
    assert "has no results of `longreel eval`" in capsys.readouterr().err
