from __future__ import annotations

import io
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from tests.support.vqgan.tiny_vqgan import moving_disc
from tokenizer.evaluation.evaluate import psnr
from tokenizer.evaluation.image_codecs import compress_frames, cost


@pytest.mark.parametrize("baseline", ["jpeg", "webp"])
def test_a_baseline_improves_with_its_budget_and_never_exceeds_it(baseline: str) -> None:
    frames = moving_disc(2, height=64, width=64)
    quality = [psnr(frames, compress_frames(baseline, frames, budget)).mean() for budget in (0, 30, 120, 1000, 20000)]
    assert quality == sorted(quality)
    assert quality[-1] > quality[0] + 10
    np.testing.assert_array_equal(
        compress_frames(baseline, frames, 0)[0], np.broadcast_to(frames[0].mean((0, 1)).round(), (64, 64, 3))
    )


@pytest.mark.parametrize(("form", "least"), [("JPEG", 1), ("WEBP", 1)])
@pytest.mark.parametrize("quality", [1, 50, 95])
def test_only_bytes_that_differ_between_frames_are_counted(
    form: Literal["JPEG", "WEBP"], least: int, quality: int
) -> None:
    """Of a flat image almost nothing is counted; for others the count grows by as many bytes as the file."""
    sizes = {}
    for name, picture in (("flat", np.zeros((16, 16, 3), np.uint8)), ("busy", moving_disc(1, height=64, width=64)[0])):
        out = io.BytesIO()
        Image.fromarray(picture).save(out, form, quality=quality)
        sizes[name] = (cost(form, out.getvalue()), len(out.getvalue()))
    assert least <= sizes["flat"][0] < 30
    counted, whole = (sizes["busy"][i] - sizes["flat"][i] for i in (0, 1))
    assert counted == whole
