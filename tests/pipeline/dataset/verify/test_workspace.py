from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.dataset.verify.workspace import store_problems, workspace_problems
from pipeline.runtime.kept_tokenizer import keep_tokenizer
from pipeline.runtime.workspace import REPORT, Workspace
from schemas.files import write_json
from schemas.tables import write_table
from schemas.weight_files.tokenizer_files import TokenizerFiles
from tests.support.bit_flips import flips
from tests.support.finished_workspace import write_finished_workspace


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return write_finished_workspace(tmp_path_factory.mktemp("finished") / "out")


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    return Workspace.existing(Path(shutil.copytree(finished.root.local(), tmp_path / "out")))


def test_an_intact_workspace_has_no_problems(finished: Workspace) -> None:
    assert list(workspace_problems(finished)) == []


def test_a_flipped_bit_of_any_file_is_found_by_name(workspace: Workspace) -> None:
    names = [
        "manifest.parquet",
        "pairs.parquet",
        "quarantine.parquet",
        "selection/3/selection.json",
        "tokens/3/store.json",
    ]
    for folder, ending in (("survey", "parquet"), ("signatures", "parquet"), ("selection", "parquet"), ("tokens", "*")):
        names += sorted(
            str(path.relative_to(workspace.root.local()))
            for path in workspace.root.local().glob(f"{folder}/*/unit-*.{ending}")
        )
    assert len(names) > 12
    for name in names:
        index = Path(name).with_name(Path(name).stem[:10] + ".parquet")  # of an Arrow file, which it names
        for _ in flips(workspace.root.local() / name, 2):
            found = {file for file, _ in workspace_problems(workspace)}
            assert found & {name, str(index)}, name


def test_a_damaged_text_tokenizer_is_found(workspace: Workspace) -> None:
    keep_tokenizer(workspace, TokenizerFiles("tokenizer.model", b"a model", {}))
    assert list(workspace_problems(workspace)) == []
    (workspace.text_tokenizer / "tokenizer.model").write(b"a modem")
    ((name, problem),) = workspace_problems(workspace)
    assert name == "tokenizers/text/tokenizer.model"
    assert "it was altered" in problem
    (workspace.root / "tokenizers" / "text.json").delete()
    ((name, problem),) = workspace_problems(workspace)
    assert (name, "is incomplete" in problem) == ("tokenizers/text.json", True)


def test_damaged_files_of_takedowns_are_found(workspace: Workspace) -> None:
    table, receipt = (workspace.root.local() / "takedown" / name for name in ("blocked/a.parquet", "receipts/a.json"))
    write_table(table, pa.table({"uri": ["a"]}))
    write_json(receipt, {"items": ["a"]})
    assert list(workspace_problems(workspace)) == []
    for path in (table, receipt):
        for _ in flips(path, 2):
            assert [name for name, _ in workspace_problems(workspace)] == [
                str(path.relative_to(workspace.root.local()))
            ]


def test_files_that_do_not_belong_are_found(workspace: Workspace) -> None:
    added = ["a.pkl", "survey/3/.unit-00000.parquet.0a1b2c3d.tmp", "tokens/3/unit-00000-12345678.arrow", "dedup/"]
    for name in added:
        path = workspace.root.local() / name
        path.mkdir() if name.endswith("/") else path.touch()
    found = dict(workspace_problems(workspace))
    assert sorted(found) == sorted(name.strip("/") for name in added)
    assert found["dedup"] == "it was left by an interrupted `longreel dedup`; run the same command again"


def test_a_report_belongs_to_a_workspace_and_a_file_among_the_datasets_does_not(workspace: Workspace) -> None:
    (workspace.root / REPORT).write(b"<!doctype html>")
    assert list(workspace_problems(workspace)) == []
    (workspace.packed_folder / "256").write(b"not a dataset")
    assert [name for name, _ in workspace_problems(workspace)] == ["packed/256"]


def test_a_missing_unit_of_the_store_is_found(workspace: Workspace) -> None:
    index = next(workspace.tokens.local().glob("unit-*.parquet"))
    index.unlink()
    assert index.name in dict(store_problems(workspace.tokens))
