from __future__ import annotations

import numpy as np

from tokenizer.evaluation.evaluate import Estimate, Evaluation
from tokenizer.evaluation.scorecard import FRAMES, grid, markdown

FACTS = {"tokenizer": "tiny", "bits_per_pixel": 0.0391, "bytes_per_frame": 80, "fps": 4.0}


def test_the_table_has_a_row_per_video_and_baseline() -> None:
    tokens = {"psnr": Estimate(21.954, 19.31, 24.6), "utilization": Estimate(0.5)}
    evaluation = Evaluation(40, tokens, {"jpeg": {"psnr": Estimate(21.66)}})
    lines = markdown({"bikes.mp4": evaluation}, FACTS).splitlines()
    assert "`tiny` at 0.0391 bits per pixel (80 bytes per frame)" in lines[0]
    assert "baselines at the same size: jpeg" in lines[0]
    assert lines[2] == "| video | frames | PSNR, dB | utilization |"
    assert lines[4] == "| bikes.mp4 | 40 | 21.95 [19.31, 24.60] | 0.500 |"
    assert lines[5] == "| &nbsp; jpeg | | 21.66 |  |"


def test_the_grid_has_frames_above_the_output_of_each_codec() -> None:
    white, red = np.full((2, 8, 8, 3), 255, np.uint8), np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    page = np.asarray(grid({"a.mp4": {FRAMES: red, "tokens": white}}, size=8))
    assert page.shape == (2 * (8 + 2 + 14), 2 * (8 + 2), 3)
    np.testing.assert_array_equal(page[14:22, :8], red[0])
    np.testing.assert_array_equal(page[14:22, 10:18], red[1])
