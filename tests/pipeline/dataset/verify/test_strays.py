from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipeline.dataset.verify.strays import strays
from pipeline.dataset.verify.verify import verify


def test_everything_that_does_not_belong_is_found(tmp_path: Path) -> None:
    for name in ("a.json", "b.pkl", ".hidden", ".a.json.0a1b2c3d.tmp"):
        (tmp_path / name).touch()
    for name in ("kept", "other", "c.json", ".parts"):
        (tmp_path / name).mkdir()
    (tmp_path / "d.json").symlink_to("a.json")
    os.mkfifo(tmp_path / "e.json")
    left = {".parts": "an interrupted `longreel pack`"}
    found = dict(strays(tmp_path, ["a.json", "c.json", "d.json"], ["kept"], unfinished=left))
    assert sorted(found) == [
        ".a.json.0a1b2c3d.tmp",
        ".hidden",
        ".parts",
        "b.pkl",
        "c.json",
        "d.json",
        "e.json",
        "other",
    ]
    assert found[".a.json.0a1b2c3d.tmp"].startswith("a temporary file of a killed command that does not belong here")
    assert found[".parts"] == "it was left by an interrupted `longreel pack`; run the same command again"
    assert found["c.json"].startswith("a folder")
    assert found["d.json"].startswith("a link")
    assert found["b.pkl"] == "a file that does not belong here; move it away or delete it"


@pytest.mark.parametrize("name", ["model.pkl", ".DS_Store", "notes/", "index.json", "train-000000-of-000001.tar"])
def test_verify_reports_files_that_do_not_belong_to_a_dataset(root: Path, tmp_path: Path, name: str) -> None:
    dataset = shutil.copytree(root / "packed", tmp_path / "set")
    (dataset / name).mkdir() if name.endswith("/") else (dataset / name).touch()
    (problem,) = verify(dataset).problems
    assert problem.file == name.strip("/")


def test_verify_counts_the_files_of_an_interrupted_command(root: Path, tmp_path: Path) -> None:
    dataset = shutil.copytree(root / "packed", tmp_path / "set")
    (dataset / ".parts").mkdir()
    for name in (".index.json.0a1b2c3d.tmp", "train-000000-of-000001-0123456789ab.tar"):
        (dataset / name).touch()
    report = verify(dataset)
    assert report.problems == ()
    assert "an interrupted command left 3 files, which the next pack or takedown deletes" in report.summary()
