"""Generated frames as files."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from pipeline.inference.generated_files import contact_sheet, png_bytes, write_frames

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 32, 3), np.uint8)


def test_a_png_decodes_to_the_frame() -> None:
    with Image.open(io.BytesIO(png_bytes(FRAMES[0, 0]))) as image:
        np.testing.assert_array_equal(np.asarray(image), FRAMES[0, 0])
    np.testing.assert_array_equal(contact_sheet(FRAMES[:1, :1]), FRAMES[0, 0])


def test_a_contact_sheet_has_a_row_for_each_sample(tmp_path: Path) -> None:
    [path] = write_frames(tmp_path / "sheet.png", FRAMES, rate=4.0)
    with Image.open(path) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (2 * 16 + 2, 3 * 32 + 4, 3)
    for n, sample in enumerate(FRAMES):
        for t, frame in enumerate(sample):
            np.testing.assert_array_equal(sheet[n * 18 :, t * 34 :][:16, :32], frame)
    assert (sheet[16:18] == 255).all()


def test_each_sample_is_a_video_with_all_frames(tmp_path: Path) -> None:
    paths = write_frames(tmp_path / "made.mp4", FRAMES, rate=12.5)
    assert [path.name for path in paths] == ["made.mp4", "made-2.mp4"]
    for path in paths:
        with av.open(str(path)) as container:
            [stream] = container.streams.video
            shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
            assert stream.average_rate == Fraction(25, 2)
        assert [frame.shape for frame in shown] == [(16, 32, 3)] * 3
