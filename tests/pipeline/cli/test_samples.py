"""The command `samples`."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel


def test_existing_samples_are_kept_and_their_manifest_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"uri": "a.mp4"}\n')
    assert longreel.main(["samples", "--out", str(tmp_path)]) == 0
    printed = "".join(capfd.readouterr().err.split("\n"))
    assert printed.startswith("samples: 1 file; ")
    assert "manifest.jsonl lists them" in printed
    assert manifest.read_text() == '{"uri": "a.mp4"}\n'
