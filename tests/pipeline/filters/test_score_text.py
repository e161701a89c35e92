"""The score `text` measures text in frames."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.filters.score_text import make
from schemas.errors import ConfigError
from tests.support.inputs.smooth_frames import smooth_frames

pytestmark = pytest.mark.slow


def test_the_share_of_text_is_measured() -> None:
    pytest.importorskip("rapidocr")
    plain, titled = smooth_frames(), []
    for picture in plain:
        image = Image.fromarray(picture)
        ImageDraw.Draw(image).text((60, 210), "and then they all went home", fill=(255, 255, 255), font_size=22)
        titled.append(np.asarray(image))
    score = make()
    assert score(plain) == {"text_share": 0, "text_share_max": 0}
    found = score(np.stack([titled[0], plain[1]]))
    box = 280 * 26 / (256 * 448)
    assert found["text_share_max"] == pytest.approx(box, rel=0.6)
    assert found["text_share"] == pytest.approx(found["text_share_max"] / 2)
    assert score(np.stack([titled[0], plain[1]])) == found


def test_a_missing_package_raises_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(ConfigError, match=r"longreel\[scores\]"):
        make()
