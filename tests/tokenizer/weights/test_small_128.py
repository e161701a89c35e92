"""The training data of small-128: its list is a valid manifest, and the script that extracts it verifies all hashes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.manifest import read_manifest
from pipeline.tokenizer_jobs.training_set import read_training_table, training_table
from schemas.errors import DatasetError, JobError
from tokenizer.weights_file import weights_file

SCRIPT = Path(__file__).parents[3] / "examples" / "small_128.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("small_128", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(archive: Path, member: str, content: bytes, **other: str) -> dict[str, Any]:
    hashes = {"archive_sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    facts = {"archive": archive.name, "member": member, "sha256": hashlib.sha256(content).hexdigest(), **hashes}
    return {"uri": "train/a.bin", "metadata": facts | other}


def test_the_training_items_of_the_manifest_are_those_in_the_table_of_the_training_set(script: Any) -> None:
    items = read_manifest([str(script.LIST)]).items
    assert Counter((item.kind, item.split) for item in items) == {
        ("video", "train"): 13,
        ("image", "train"): 112,
        ("video", "val"): 5,
    }
    table = read_training_table(training_table(weights_file("small-128")))
    listed = {"/".join(Path(item.uri).parts[-2:]) for item in items if item.split == "train"}
    assert {uri for uri, _ in table} == listed


def test_files_are_extracted_only_from_archives_with_the_listed_hashes(script: Any, tmp_path: Path) -> None:
    archive = tmp_path / "archives" / "some.whl"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("x/a.bin", b"content")
    good = row(archive, "x/a.bin", b"content")
    script.write_files([good], archive.parent, tmp_path / "out")
    assert (tmp_path / "out" / "train" / "a.bin").read_bytes() == b"content"
    for wrong, message in (
        (row(archive, "x/a.bin", b"other"), "x/a.bin differs from the listed file"),
        (row(archive, "x/a.bin", b"content", archive_sha256="0"), "some.whl differs from the listed file"),
        (good | {"metadata": good["metadata"] | {"archive": "none.whl"}}, "does not contain none.whl"),
    ):
        with pytest.raises(JobError, match=message):
            script.write_files([wrong], archive.parent, tmp_path / "out")
    with pytest.raises(DatasetError, match="points outside"):
        script.write_files([good | {"uri": "../a.bin"}], archive.parent, tmp_path / "out")


def test_every_archive_is_listed_with_one_hash(script: Any) -> None:
    facts = [json.loads(line)["metadata"] for line in script.LIST.read_text().splitlines()]
    assert len({fact["archive"] for fact in facts}) == len(
        {(fact["archive"], fact["archive_sha256"]) for fact in facts}
    )
