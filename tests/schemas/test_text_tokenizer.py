from __future__ import annotations

from pathlib import Path

import pytest

from schemas.dataset_files import is_dataset_file
from schemas.errors import DatasetError
from schemas.fingerprint import sha256_file
from schemas.storage.location import located
from schemas.text_tokenizer import copy_files, file_problems, store_files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(b"{}")
    (folder / "tokenizer_config.json").write_bytes(b"[]")
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.iterdir()}


def test_a_copy_has_the_same_files_and_no_others(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "tokenizer.model").write_bytes(b"old")
    copy_files(source, target, hashes(source))
    assert hashes(target) == hashes(source)
    assert list(file_problems(target, hashes(source))) == []


def test_files_stored_in_a_dataset_have_a_folder_of_their_own(source: Path, tmp_path: Path) -> None:
    stored = store_files(source, located(tmp_path / "dataset"), hashes(source))
    (folder,) = {file.name.split("/")[0] for file in stored}
    assert is_dataset_file(folder)
    assert {file.name.split("/")[1]: file.sha256 for file in stored} == hashes(tmp_path / "dataset" / folder)
    assert all((tmp_path / "dataset" / file.name).stat().st_size == file.filesize for file in stored)
    (source / "tokenizer.json").write_bytes(b"{ }")
    assert store_files(source, located(tmp_path / "dataset"), hashes(source))[0].name.split("/")[0] != folder


def test_a_damaged_or_missing_file_is_not_copied(source: Path, tmp_path: Path) -> None:
    expected = hashes(source)
    (source / "tokenizer.json").write_bytes(b"{ ")
    (source / "tokenizer_config.json").unlink()
    problems = dict(file_problems(source, expected | {"../x": "0"}))
    assert "it was altered" in problems["tokenizer.json"]
    assert problems["tokenizer_config.json"] == "it is missing"
    assert "outside the folder" in problems["../x"]
    with pytest.raises(DatasetError, match=r"tokenizer.*json: it"):
        copy_files(source, tmp_path / "target", expected)
    assert not (tmp_path / "target").exists()
