"""The number of units: chosen from the items, growing with them, without effect on what is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.dataset.verify.workspace import workspace_problems
from pipeline.packing.config import PackConfig
from pipeline.packing.job import Stage, pack
from pipeline.runtime.beam import Runner
from pipeline.runtime.growth import divide, units_for
from pipeline.runtime.token_store import StoreFacts, TokenStore, orphans
from pipeline.runtime.units import unit_files
from pipeline.runtime.workspace import Workspace
from pipeline.select.job import select_items
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.takedown.takedown import TakedownConfig, take_down
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.job import tokenize_items
from schemas.errors import ConfigError
from tests.support.finished_workspace import CLIP, FILM, NOVEL, rows_of, write_finished_workspace
from tests.support.stages import made_bytes
from tests.support.survey_rows import select_config
from tests.support.texts import story
from tests.support.token_stores import write_workspace
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

STAGE = Stage(name="64", context_length=64, config=PackConfig())


def test_the_number_of_units_follows_the_items() -> None:
    numbers = [units_for(items) for items in (0, 1, 10, 64, 200, 8192, 8193, 1_000_000, 10**9)]
    assert numbers == [1, 1, 8, 64, 64, 64, 128, 8192, 99_999]


def test_a_number_that_is_given_stays_until_a_multiple_is_given(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=3)
    divide(workspace, 10_000)
    assert Workspace.existing(tmp_path / "out").units == 3
    divide(workspace, 1, given=12)
    assert Workspace.existing(tmp_path / "out").units == 12
    for wrong in (8, 6, 0, 1_200_000):
        with pytest.raises(ConfigError, match=rf"has 12 units.*multiple of 12 up to 99,999, got {wrong}"):
            divide(workspace, 1, given=wrong)


def test_without_a_given_number_units_are_divided_as_items_are_added(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out")
    numbers = []
    for items in (5, 20, 3, 70, 100_000):
        divide(workspace, items)
        numbers.append(Workspace.existing(tmp_path / "out").units)
    assert numbers == [4, 16, 16, 64, 1024]


@pytest.mark.slow
def test_divided_units_have_the_rows_and_tokens_of_before(tmp_path: Path) -> None:
    workspace = write_finished_workspace(tmp_path / "out")
    before, files = rows_of(workspace), list(workspace.tokens.local().glob("*.arrow"))
    for units in (6, 24):
        divide(workspace, 0, given=units)
        assert rows_of(workspace) == before
        assert list(workspace_problems(workspace)) == []
        assert StoreFacts.read(workspace.tokens).units == tuple(
            sorted(
                {workspace.unit_of(d.id) for d in (CLIP, FILM, NOVEL)}
                | {int(p.stem[5:]) for p in unit_files(workspace.tokens)}
            )
        )
    assert all(path.exists() for path in files)  # no byte of tokens was copied
    assert sorted(p.name for p in (workspace.root.local() / "survey").iterdir()) == ["24"]


@pytest.mark.slow
def test_a_takedown_leaves_no_token_in_a_file_that_divided_units_share(tmp_path: Path) -> None:
    workspace = Workspace.existing(write_finished_workspace(tmp_path / "out").root)
    rows = TokenStore(workspace.tokens).table().to_pylist()
    divide(workspace, 0, given=48)
    take_down(workspace, ["clip.mp4"], TakedownConfig(near_duplicates=False))
    store = TokenStore(workspace.tokens)
    left = {row["document_id"]: row for row in store.table().to_pylist()}
    assert left.keys() == {row["document_id"] for row in rows} - {CLIP.id}
    assert orphans(workspace.tokens) == []
    needle = CLIP.tokens.tobytes()
    assert not any(needle in path.read_bytes() for path in (workspace.root.local() / "tokens").rglob("*.arrow"))
    for document in (FILM, NOVEL):
        row = left[document.id]
        assert store.read(row["unit"], row["batch"], row["row"]).tolist() == document.tokens.tolist()


def test_packing_reads_the_tokens_of_divided_units(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "out", [CLIP, FILM, NOVEL])
    pack(workspace, STAGE, Runner())
    before = made_bytes(workspace.root.local(), ["packed"])
    workspace.packed(64).delete_folder()
    divide(workspace, 0, given=12)
    pack(workspace, STAGE, Runner())
    assert made_bytes(workspace.root.local(), ["packed"]) == before


class _Jobs:
    """Runs survey to pack on a folder of question-answer documents."""

    def __init__(self, folder: Path, model: Path) -> None:
        self._folder, self._model = folder, model

    def run(self, out: Path, *, units: int | None = None) -> tuple[int, int]:
        """Run all jobs, and return how many items were surveyed and tokenized."""
        workspace, runner = Workspace.open(out, units=units), Runner()
        worker = SurveyWorker(workspace=workspace, config=SurveyConfig())
        surveyed = survey_items([str(self._folder)], workspace, worker, runner, units=units)
        select_items(workspace, select_config(val_fraction=0.1), runner)
        tokenized = tokenize_items(workspace, TokenizeConfig(), self._model, runner)
        pack(workspace, STAGE, runner)
        return surveyed.new, tokenized.new


@pytest.fixture(scope="module")
def text_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [story(0, 40)]
    train_text_tokenizer(
        words, path := tmp_path_factory.mktemp("model") / "text.model", TextTrainConfig(vocab_size=512)
    )
    return path


def _write_questions(folder: Path, numbers: range) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        turns = [{"role": "question", "text": f"What is number {number}?"}, {"role": "answer", "text": "A number." * 3}]
        (folder / f"{number}.qa.json").write_text(json.dumps({"turns": turns}))


@pytest.mark.slow
def test_the_dataset_has_the_same_bytes_for_any_number_of_units_and_for_a_corpus_that_grew(
    text_tokenizer: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    jobs = _Jobs(folder, text_tokenizer)
    _write_questions(folder, range(10))
    grown = tmp_path / "grown"
    assert jobs.run(grown) == (10, 10)
    assert Workspace.existing(grown).units == 8
    _write_questions(folder, range(10, 32))
    tokenized = jobs.run(grown)[1]
    assert Workspace.existing(grown).units == 32
    journals = [path.read_text().splitlines()[1:] for path in (grown / "logs" / "survey").rglob("*.jsonl")]
    made = [line for lines in journals for line in lines if '"made"' in line]
    assert (len(made), tokenized) == (32, 22)  # nothing is surveyed or tokenized twice
    assert jobs.run(grown) == (0, 0)
    assert {path.parent.name for path in (grown / "tokens").rglob("*.arrow")} == {"32"}
    expected = made_bytes(grown, ["packed"])
    for units in (None, 1, 7):
        out = tmp_path / f"{units}"
        assert jobs.run(out, units=units) == (32, 32)
        assert made_bytes(out, ["packed"]) == expected
