from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import longreel
from tests.support.servers.chat_server import Answer, chat_server


def test_a_folder_of_pictures_becomes_a_manifest_with_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (20, 20), (200, 0, 0)).save(tmp_path / "p.png")
    command = ["caption", str(tmp_path / "p.png"), "--out", str(tmp_path / "out"), "--size", "16"]
    with chat_server(lambda body: Answer("A red square.")) as server:
        assert longreel.main([*command, "--endpoint", server.address, "--dry-run"]) == 0
        assert server.requests == []
        assert "1 item, 1 without a caption" in capsys.readouterr().out
        assert longreel.main([*command, "--endpoint", server.address]) == 0
    assert "kept" in capsys.readouterr().out
    [row] = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert row["captions"] == ["A red square."]
