"""Captions of pictures, with a server whose replies a function gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.captioning.captions import CAPTIONS, MANIFEST, caption_items
from pipeline.captioning.config import CaptionConfig
from pipeline.language_models.endpoint import Endpoint, EndpointConfig
from pipeline.sources.access import AccessConfig
from pipeline.sources.manifest import read_manifest
from schemas.errors import JobError
from schemas.fingerprint import sha256_file
from schemas.rows import ManifestItem
from tests.support.servers.chat_server import Answer, chat_server

pytestmark = pytest.mark.slow

CONFIG = CaptionConfig(size=16)


@pytest.fixture
def items(tmp_path: Path) -> list[ManifestItem]:
    """Five pictures, of which one has a caption and one is damaged."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (20, 20), (50 * number, 0, 0)).save(folder / f"{number}.png")
    (folder / "3.txt").write_text("given")
    (folder / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return list(read_manifest([str(folder)]).items)


def run(items: list[ManifestItem], address: str, out: Path, config: CaptionConfig = CONFIG) -> dict[str, Any]:
    model = Endpoint(address, EndpointConfig(retries=0))
    return caption_items(items, model, out, config, access=AccessConfig())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_captions_are_in_the_manifest_with_their_origin(items: list[ManifestItem], tmp_path: Path) -> None:
    with chat_server(lambda body: Answer("A  red\npicture.")) as server:
        summary = run(items, server.address, tmp_path / "out")
        parts = server.requests[0]["messages"][0]["content"]
        assert [part["type"] for part in parts] == ["text", "image_url"]
        assert parts[1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert (summary["kept"], summary["rejected"], summary["requests"]) == (3, {"unreadable": 1}, 3)
    rows = {Path(row["uri"]).name: row for row in lines(tmp_path / "out" / MANIFEST)}
    assert rows["0.png"]["captions"] == ["A red picture."]
    origin = rows["0.png"]["metadata"]["caption"]
    assert origin["sha256"] == sha256_file(Path(rows["0.png"]["uri"]))
    assert origin["times"] == [0.0]
    assert "captions" not in rows["4.png"]
    again = {Path(item.uri).name: item for item in read_manifest([str(tmp_path / "out" / MANIFEST)]).items}
    assert again["0.png"].captions == ("A red picture.",)
    assert again["3.png"].caption_file == next(item.caption_file for item in items if item.uri.endswith("3.png"))


def test_a_run_with_a_budget_continues_without_repeated_requests(items: list[ManifestItem], tmp_path: Path) -> None:
    with chat_server(lambda body: Answer("red")) as server:
        some = run(items, server.address, tmp_path / "out", CaptionConfig(size=16, max_requests=2))
        assert (some["kept"], some["not_asked"], len(server.requests)) == (2, 1, 2)
        assert run(items, server.address, tmp_path / "out")["kept"] == 3
        assert run(items, server.address, tmp_path / "out")["requests"] == 0
        assert len(server.requests) == 3


def test_a_server_that_fails_ends_the_run_and_replies_are_kept(items: list[ManifestItem], tmp_path: Path) -> None:
    answers = [Answer("red"), Answer("no", status=500)]
    with chat_server(lambda body: answers.pop(0) if answers else Answer("blue")) as server:
        with pytest.raises(JobError, match="500"):
            run(items, server.address, tmp_path / "out")
        assert run(items, server.address, tmp_path / "out")["requests"] == 2


def test_an_item_that_is_absent_keeps_its_caption(items: list[ManifestItem], tmp_path: Path) -> None:
    some, out = items[:2], tmp_path / "out"
    with chat_server(lambda body: Answer("red")) as server:
        run(some, server.address, out)
        before = (out / MANIFEST).read_bytes()
        Path(some[0].uri).rename(tmp_path / "away")
        summary = run(some, server.address, out)
        assert (summary["kept"], summary["requests"]) == (2, 0)
        assert (out / MANIFEST).read_bytes() == before
        Path(some[1].uri).write_bytes(b"damaged")
        assert run(some, server.address, out)["rejected"] == {"unreadable": 1}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(" "), "blank"),
        (Answer("I'm sorry, I can't."), "refusal"),
        (Answer("long", status=400), "refused_request"),
    ],
)
def test_replies_that_are_no_captions_have_a_reason(
    items: list[ManifestItem], tmp_path: Path, answer: Answer, reason: str
) -> None:
    with chat_server(lambda body: answer) as server:
        summary = run(items[:1], server.address, tmp_path / "out")
    assert (summary["kept"], summary["rejected"]) == (0, {reason: 1})
    assert lines(tmp_path / "out" / CAPTIONS)[0]["rejection"] == reason
