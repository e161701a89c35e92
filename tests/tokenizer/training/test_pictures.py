from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tokenizer.training.pictures import comparison, write_picture


def test_frames_are_above_their_reconstructions(tmp_path: Path) -> None:
    frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    picture = comparison(frames, 255 - frames)
    assert picture.shape == (8, 12, 3)
    np.testing.assert_array_equal(picture[:4, 6:], frames[1])
    np.testing.assert_array_equal(picture[4:, :6], 255 - frames[0])
    path = write_picture(tmp_path, 250, picture)
    assert path == tmp_path / "pictures" / "000250.png"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
