"""One workspace that all tests of the commands read, and a server that runs commands in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import longreel
from tests.support.inputs.media import make_video
from tests.support.servers.command_server import CommandServer
from tests.support.texts import story

CONTEXT = 1024


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace made by `longreel run` from two videos, a picture and three books."""
    folder = tmp_path_factory.mktemp("in")
    for name in ("held.mp4", "b.mp4"):
        make_video(folder / name, frames=75 if name == "b.mp4" else 60)
    Image.fromarray(np.full((90, 120, 3), 140, np.uint8)).save(folder / "picture.png")
    (folder / "picture.txt").write_text("a gray picture")
    for n in range(3):
        (folder / f"book{n}.txt").write_text(story(n, 30))
    items = [{"uri": str(p)} for p in sorted(folder.iterdir()) if p.name != "picture.txt"]
    for item in items:
        item["split"] = "val" if Path(item["uri"]).name in ("held.mp4", "book0.txt") else "train"
        item["license"], item["source"] = "CC0-1.0", "a test"
    manifest = tmp_path_factory.mktemp("manifest") / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, items)))
    out = tmp_path_factory.mktemp("run") / "out"
    assert longreel.main(["run", str(manifest), "--out", str(out), "--context", str(CONTEXT), "--units", "4"]) == 0
    return out


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    """Processes that a test may limit or kill."""
    server = CommandServer(tmp_path_factory.mktemp("commands") / "stderr")
    yield server
    server.close()
