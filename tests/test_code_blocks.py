"""Every code block of the documentation is code of its language; those of the first pages are run as a user runs them.

Commands that train or download are parsed with all their values instead of run.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import longreel
from pipeline.cli.parse import parse
from pipeline.cli.subcommands import SUBCOMMANDS, split_name
from pipeline.sources.samples.packages import PACKAGES
from tests.support.code_blocks import CodeBlock, code_blocks
from tests.support.inputs.media import make_video
from tests.support.texts import story

_TOP = Path(__file__).parents[1]
_PAGES = [*_TOP.glob("*.md"), *_TOP.glob("docs/**/*.md"), *_TOP.glob("tokenizer/**/*.md")]
BLOCKS = [block for page in sorted(_PAGES) for block in code_blocks(page, _TOP)]
_CURATE, _TRAIN, _PUBLISHED = (f"docs/tutorials/{name}.md" for name in ("curate", "train", "published_model"))
_QUICK_START = "docs/quick_start.md"
_WITH_VALUES = ("README.md", _QUICK_START, _CURATE, _TRAIN, _PUBLISHED)
_NOT_RUN = {"samples", "train", "generate", "--help"}
_DONE_BY_TUTORIAL = {"train-text-tokenizer", "run"}  # with the same results
_TOOLS = set(
    "cd dask docker duckdb gcloud make mpirun mv pip python python3 source srun tensorboard".split()  # noqa: SIM905
)
_EXTRAS = set(tomllib.loads((_TOP / "pyproject.toml").read_text())["project"]["optional-dependencies"])
_TARGETS = set(re.findall(r"^([a-z-]+):", (_TOP / "Makefile").read_text(), re.MULTILINE))


def _of(language: str) -> list[CodeBlock]:
    return [block for block in BLOCKS if block.language == language]


def _longreel(pages: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    found = [block for block in BLOCKS if block.page in pages and block.language == "sh"]
    return [(block.where, words[1:]) for block in found for words in block.commands() if words[0] == "longreel"]


def test_every_block_has_a_language_that_is_checked_here() -> None:
    assert {block.language for block in BLOCKS} <= {"sh", "python", "toml", "json", "yaml", "text"}
    assert {block.page for block in BLOCKS} >= set(_WITH_VALUES)


def test_no_page_has_an_indented_block_which_would_not_be_checked() -> None:
    for page in _PAGES:
        outside = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        assert re.findall(r"(?m)^\n {4}\S.*$", outside) == [], page


def test_commands_are_not_wider_than_the_column_of_the_site() -> None:
    shown = [block for block in BLOCKS if block.page.startswith(("README", "docs/")) and block.language == "sh"]
    lines = [(block.where, line) for block in shown for line in re.findall(r"(?m)^(?:longreel|  ).*", block.text)]
    assert [(where, line) for where, line in lines if len(line) > 78] == []


@pytest.mark.parametrize("block", _of("python"), ids=lambda block: block.where)
def test_a_block_of_python_compiles_and_its_imports_exist(block: CodeBlock) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in longreel.PACKAGES:
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("block", [*_of("toml"), *_of("json"), *_of("yaml")], ids=lambda block: block.where)
def test_a_block_of_data_can_be_read(block: CodeBlock) -> None:
    if block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "json":
        json.loads(block.text)
    else:
        list(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("block", _of("sh"), ids=lambda block: block.where)
def test_the_programs_extras_and_targets_in_a_block_of_a_shell_exist(block: CodeBlock) -> None:
    for program, *words in block.commands():
        assert program == "longreel" or program in _TOOLS
        if program == "make":
            assert set(words) <= _TARGETS
        for extras in re.findall(r"(?:longreel|^\.|\.whl)\[(.+)\]$", " ".join(words)) if program == "pip" else ():
            assert set(extras.split(",")) <= _EXTRAS


@pytest.mark.parametrize(("where", "words"), _longreel(_WITH_VALUES), ids=lambda value: str(value))
def test_a_command_of_the_first_pages_has_valid_values(
    where: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, rest = split_name(words)
    if name != "--help":
        parse(SUBCOMMANDS[name].load(), rest, prog=where)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with small files in the place of the samples that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    for kind in ("videos", "books"):
        (folder / "samples" / kind).mkdir(parents=True)
    make_video(folder / "samples" / "videos" / "bikes.mp4", frames=60)
    make_video(folder / "samples" / "videos" / "world.mp4", frames=50)
    for n, name in enumerate(("Ruth", "Esther", "Jonah")):
        (folder / "samples" / "books" / f"{name}.txt").write_text(story(n, 60))
    rows = [{"uri": f"videos/{name}.mp4", "split": "val"} for name in ("bikes",)] + [{"uri": "videos/world.mp4"}]
    rows += [{"uri": f"books/{name}.txt"} for name in ("Ruth", "Esther", "Jonah")]
    (folder / "samples" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    yield folder
    shutil.rmtree(folder)


def test_the_samples_that_the_pages_name_are_those_that_are_downloaded() -> None:
    named = {
        name for page in _WITH_VALUES for name in re.findall(r"samples/videos/([\w.]+)", (_TOP / page).read_text())
    }
    assert named <= {Path(file.member).name for package in PACKAGES for file in package.files}


@pytest.mark.slow
def test_the_commands_and_calls_of_the_first_pages_lead_to_their_results(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    commands = [*_longreel((_CURATE,)), *(c for c in _longreel((_QUICK_START,)) if c[1][0] not in _DONE_BY_TUTORIAL)]
    for where, words in commands:
        if split_name(words)[0] not in _NOT_RUN:
            assert longreel.main(words) == 0, (where, capfd.readouterr().err)
    assert capfd.readouterr().err.count("OK: dataset verified") == 3
    assert (folder / "data" / "report.html").is_file()
    names: dict[str, object] = {}
    for block in BLOCKS:
        if block.page == "docs/python_api.md" and not re.search("torch|load_model", block.text):
            exec(block.text, names)
    assert names["dataset"]
