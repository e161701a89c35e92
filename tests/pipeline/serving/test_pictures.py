"""Pictures and videos of a description, as files in the reply."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from pipeline.inference.text_to_video import VideoGenerator, VideoRequest
from tests.support.serving import CONTEXT, RunningServer, Tiny
from trainer.inference.requests import Sampling

pytestmark = pytest.mark.slow


def _drawn(server: RunningServer, **fields: Any) -> httpx.Response:
    return server.post("/v1/images/generations", {"prompt": "a boat", "seed": 5, **fields})


def test_pictures_are_those_of_generate_with_the_same_seed(server: RunningServer, tiny: Tiny) -> None:
    found = _drawn(server, n=2, guidance=3.0).json()["data"]
    assert [one["media_type"] for one in found] == ["image/png"] * 2
    media = tiny.prompts.media
    assert media is not None
    generator = VideoGenerator(
        tiny.another_engine(), tiny.prompts.tokenizer, media.codec, media.vocabulary, context=CONTEXT
    )
    request = VideoRequest(description="a boat", samples=2, guidance=3.0, sampling=Sampling(seed=5))
    expected = generator.frames(request)[:, 0]
    for one, frame in zip(found, expected, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(one["b64_json"]))) as picture:
            assert np.array_equal(np.asarray(picture), frame)


def test_several_frames_are_a_video(server: RunningServer, tmp_path: Path) -> None:
    [found] = _drawn(server, frames=3, frame_rate=2).json()["data"]
    assert found["media_type"] == "video/mp4"
    (tmp_path / "a.mp4").write_bytes(base64.b64decode(found["b64_json"]))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == 2
        assert len(list(container.decode(video=0))) == 3


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " "}, "the description of the frames is empty"),
        ({"n": 17}, "n: "),
        ({"frames": 0}, "frames: "),
        ({"frames": 5000}, "contexts of"),
        ({"size": "1024x1024"}, "size: "),
        ({"response_format": "url"}, "response_format: "),
        ({"negative_prompt": "rain"}, "no effect with guidance 1"),
        ({"negative_prompt": "rain " * 400, "guidance": 2.0}, "contexts of"),
        ({"model": "other"}, "is not served"),
        ({"quality": "hd"}, "quality: "),
    ],
)
def test_what_cannot_be_drawn_is_refused(server: RunningServer, fields: dict[str, Any], told: str) -> None:
    answer = _drawn(server, **fields)
    assert answer.status_code in (400, 404)
    assert told in answer.json()["error"]["message"]


def test_the_server_says_whether_it_draws(server: RunningServer) -> None:
    [model] = httpx.get(f"{server.address}/v1/models").json()["data"]
    assert model["draws"] is True
