"""Every command over items whose names and titles contain what a terminal executes: no such character is printed."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import MISSING
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import longreel
from pipeline.cli.options import Option, options_of
from pipeline.cli.subcommands import SUBCOMMANDS
from schemas.storage.location import Location
from tests.support.stored_files import file_of
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story

EVIL = "\x1b]52;c;aGk=\x07\x9b2J\x7f\u202e\u2028\n[bold]"
BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
pytestmark = pytest.mark.slow


def harmful(text: str) -> set[str]:
    """Return the characters of a text that a terminal executes or that reorder it, except newlines."""
    categories = ("Cc", "Cs", "Zl", "Zp")
    return {c for c in text if c != "\n" and (unicodedata.category(c) in categories or c in BIDIRECTIONAL)}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of books with hostile names, titles, licenses and URLs, of which several are rejected."""
    folder = tmp_path_factory.mktemp("hostile")
    text_tokenizer("own", [story(n, 30) for n in range(3)], folder / "text.model")
    books = folder / f"books{EVIL}"
    books.mkdir()
    for n in range(3):
        (books / f"{n}{EVIL}.txt").write_text(story(n, 4))
    (books / f"broken{EVIL}.txt").write_bytes(b"\0\xff\xfe")
    (books / f"unsupported.{EVIL}").touch()
    common = {"title": f"title{EVIL}", "source": f"source{EVIL}", "license": f"license{EVIL}"}
    rows = [{"uri": str(path), **common} for path in sorted(books.glob("*.txt"))]
    rows += [
        {"uri": f"https://localhost/{EVIL}.txt"},
        {"uri": f"{EVIL}://x.txt", "kind": "book"},
        {"uri": str(books / f"missing{EVIL}.txt")},
        {"uri": f"a{EVIL}.txt", "split": EVIL},
        {"uri": f"b{EVIL}.txt", EVIL: "unknown column"},
    ]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_no_command_prints_a_character_that_a_terminal_executes(
    inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "out", ["--text-tokenizer", str(inputs / "text.model")]
    dataset, manifest = str(out / "packed" / "256"), str(inputs / "m.jsonl")
    place = ["--context", "256", "--out", str(out)]

    def run(*arguments: str, code: int = 0) -> str:
        assert longreel.main(list(arguments)) == code, arguments
        printed = capfd.readouterr()
        assert harmful(printed.out + printed.err) == set(), arguments
        return printed.out + printed.err

    run("run", manifest, *place, *model)
    rows = pq.read_table(file_of(out / "packed" / "256", "documents.parquet")).to_pylist()
    uri = rows[0]["uri"]
    assert harmful(uri)
    run("survey", str(next(inputs.glob("books*"))), manifest, "--out", str(out), "--max-absent", "1")
    run("survey", str(inputs / f"nothing{EVIL}"), "--out", str(out), code=1)
    run("survey", f"--{EVIL}", "--out", str(out), code=2)
    run(f"{EVIL}", code=2)
    run("select", "--out", str(out), "--dry-run", "--limit", "words=100000:")
    run("select", "--out", str(out))
    run("tokenize", "--out", str(out), *model)
    run("pack", *place)
    run("explain", uri, "--workspace", str(out))
    assert json.loads(run("explain", uri, "--workspace", str(out), "--json"))["item"]["uri"] == uri
    assert "nearest: " in run("explain", "BROKEN", "--workspace", str(out), code=1)
    run("explain", f"x{EVIL}", "--workspace", str(out), code=1)
    run("report", str(out))
    run("inspect", dataset)
    run("verify", dataset, "--tokens", str(out / "tokens"))
    run("trace", dataset, "--key", rows[0]["sequence"])
    run("trace", dataset, "--key", rows[0]["sequence"], "--token", "3")
    run("trace", dataset, "--key", EVIL, code=1)
    run("list", str(out))
    run("list", str(out), "--format", "jsonl")
    run("takedown", uri, "--out", str(out), "--dry-run")
    run("takedown", EVIL, "--out", str(out), code=1)
    run("takedown", uri, "--out", str(out))
    run("config", "run", manifest, *place, "--source", EVIL)
    run("train-text-tokenizer", manifest, "--out", str(tmp_path / f"new{EVIL}.model"), "--vocab-size", "512")
    run("eval-tokenizer", manifest, "--out", str(tmp_path / "evaluation"), code=1)
    next((out / "packed" / "256").glob("*.tar")).write_bytes(b"")
    run("verify", dataset, code=1)
    logs = [path for path in (out / "logs").rglob("*") if path.is_file()]
    assert logs
    for path in logs:
        assert harmful(path.read_text()) == set(), path


def test_the_report_escapes_hostile_names(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert longreel.main(["survey", str(inputs / "m.jsonl"), "--out", str(out)]) == 0
    assert longreel.main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert harmful(page) == set()
    assert "\\u001b]52" in page


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_no_message_about_an_option_has_a_character_that_a_terminal_executes(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"file{EVIL}").touch()
    options = options_of(SUBCOMMANDS[name].load())
    required = [option for option in options if option.default is MISSING]
    texts = [option for option in options if option.element in (str, Path, Location) and option not in required]
    for added in ([f"extra{EVIL}"], [word for option in texts for word in _given(option, tmp_path)]):
        command = [*name.split(), *(word for option in required for word in _given(option, tmp_path)), *added]
        try:
            code = longreel.main(command)
        except SystemExit as e:  # of tyro
            code = e.code if isinstance(e.code, int) else 1
        printed = capfd.readouterr()
        assert code != 3, command
        assert harmful(printed.out + printed.err) == set(), command


def _given(option: Option, folder: Path) -> list[str]:
    """Return an option with the name of something that does not exist, or where nothing can be written."""
    place = folder / (f"file{EVIL}/below" if option.output else f"missing{EVIL}")
    value = str(place) if option.element in (str, Path, Location) else option.choices[0] if option.choices else "1"
    return [value] if option.positional else [f"--{option.name}", value]
