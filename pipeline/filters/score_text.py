"""The score `text`: the share of a frame that is text, by the detector of PP-OCR (rapidocr) on ONNX Runtime.

It counts titles, subtitles, slides and watermarks; it does not distinguish overlays from text in the scene.
`text_share` is the mean over the frames, which is high for text that stays; `text_share_max` is the maximum. The
weights are part of the package `rapidocr` (Apache-2.0, as are its models), so nothing is downloaded. Cost: 300 ms per
frame on one core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.filters.scores import Rate
from schemas.errors import ConfigError

_SETTINGS = {
    "Det.limit_side_len": 480,  # pixels of the short side; the default of 736 detects more faces as text
    "Det.box_thresh": 0.7,  # faces, hair and windows reach 0.66, letters start at 0.75
    "Global.log_level": "critical",
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


def make() -> Rate:
    """Load the model. Raises ConfigError if its packages are not installed."""
    try:
        import onnxruntime  # noqa: F401  # rapidocr does not depend on a runtime
        from rapidocr import RapidOCR
    except ImportError as e:
        raise ConfigError(f"score text: {e.name} is not installed; pip install 'longreel[scores]'") from e
    engine: Any = RapidOCR(params=_SETTINGS)

    def rate(frames: NDArray[np.uint8]) -> dict[str, float]:
        shares = [_box_share(engine(frame[..., ::-1], use_cls=False, use_rec=False).boxes, frame) for frame in frames]
        return {"text_share": float(np.mean(shares)), "text_share_max": max(shares)}

    return rate


def _box_share(boxes: NDArray[np.floating] | None, frame: NDArray[np.uint8]) -> float:
    """Return the share of a frame that is within any of the boxes [k, 4 corners, xy]."""
    mask = Image.new("1", (frame.shape[1], frame.shape[0]))
    for box in () if boxes is None else boxes:
        ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in box], fill=1)
    return float(np.asarray(mask).mean())
