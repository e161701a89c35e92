from __future__ import annotations

from typing import Any

import pytest

from pipeline.captioning.config import CaptionConfig
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 64, "size": 2048},
        {"frames": 0},
        {"words": 0},
        {"size": 4},
        {"prompt": " "},
        {"temperature": -1},
        {"max_requests": -1},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CaptionConfig(**wrong)


def test_a_video_and_a_picture_are_asked_about_in_other_words() -> None:
    config = CaptionConfig(words=20)
    assert "8 frames" in config.question("video", 8)
    assert "20 words" in config.question("image", 1)
    assert CaptionConfig(prompt="What?").question("video", 8) == "What?"
