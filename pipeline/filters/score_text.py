"""The score `text`: which share of a frame is text, by the detector of PP-OCR (rapidocr) on ONNX Runtime.

Titles, subtitles, slides, watermarks; it does not tell what is laid over the picture from what stands in it. The
number is `text_share`, the mean over the frames: text that stays; `text_share_max` is the fullest frame. The weights
lie in the package `rapidocr` (Apache-2.0, as its models are), so nothing is fetched. 300 ms a frame on one core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.filters.scores import Rate
from schemas.errors import ConfigError

_SETTINGS = {
    "Det.limit_side_len": 480,  # pixels of the short side; at the default of 736 faces are taken for text more often
    "Det.box_thresh": 0.7,  # faces, hair and windows reach 0.66, letters begin at 0.75
    "Global.log_level": "critical",
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


def make() -> Rate:
    """Load the model; raises ConfigError where its packages are not installed."""
    try:
        import onnxruntime  # noqa: F401  # rapidocr names no runtime of its own
        from rapidocr import RapidOCR
    except ImportError as e:
        raise ConfigError(f"score text: {e.name} is not installed; pip install 'longreel[scores]'") from e
    engine: Any = RapidOCR(params=_SETTINGS)

    def rate(frames: NDArray[np.uint8]) -> dict[str, float]:
        shares = [_covered(engine(frame[..., ::-1], use_cls=False, use_rec=False).boxes, frame) for frame in frames]
        return {"text_share": float(np.mean(shares)), "text_share_max": max(shares)}

    return rate


def _covered(boxes: NDArray[np.floating] | None, frame: NDArray[np.uint8]) -> float:
    """Return the share of a frame that lies in any of the boxes [k, 4 corners, xy]."""
    mask = Image.new("1", (frame.shape[1], frame.shape[0]))
    for box in () if boxes is None else boxes:
        ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in box], fill=1)
    return float(np.asarray(mask).mean())
