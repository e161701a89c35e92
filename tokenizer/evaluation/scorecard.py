"""An evaluation to look at: a table in Markdown, and a picture of frames as they come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tokenizer.evaluation.evaluate import Estimate, Evaluation

FRAMES = "frames"  # the row of what was to be rebuilt, beside those of codecs
_DIGITS = {"psnr": 2, "ssim": 3, "flicker": 2, "distance": 3, "use": 3, "perplexity": 0}
_UNITS = {"psnr": "PSNR, dB", "ssim": "SSIM", "flicker": "flicker", "use": "use", "distance": "perceptual distance"}
_MARGIN, _LABEL = 2, 14  # pixels


def markdown(rows: Mapping[str, Evaluation], facts: Mapping[str, Any]) -> str:
    """Return the table: a line a video, a column a measure; rivals' in the same cell."""
    first = next(iter(rows.values()))
    names = list(first.tokens)
    title = (
        f"`{facts['tokenizer']}` at {facts['bits_per_pixel']:.4f} bits a pixel "
        f"({facts['bytes_per_frame']} bytes a frame), {facts['fps']:g} frames a second; 95 % intervals in brackets"
    )
    if first.rivals:
        title += f"; below: {', '.join(first.rivals)} of the same size"
    lines = [title, "", f"| video | frames | {' | '.join(_UNITS.get(name, name) for name in names)} |"]
    lines += ["|---" * (2 + len(names)) + "|"]
    for video, score in rows.items():
        cells = [_cell(score.tokens.get(name), name) for name in names]
        lines.append(f"| {video} | {score.frames} | {' | '.join(cells)} |")
        for rival, found in score.rivals.items():
            lines.append(f"| &nbsp; {rival} | | {' | '.join(_cell(found.get(name), name) for name in names)} |")
    return "\n".join(lines) + "\n"


def _cell(estimate: Estimate | None, name: str) -> str:
    if estimate is None:
        return ""
    digits = _DIGITS[name]
    if estimate.low is None:
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def grid(videos: Mapping[str, Mapping[str, NDArray[np.uint8]]], *, size: int) -> Image.Image:
    """Return for each video its frames `[n, size, size, 3]`, and below them what each codec made of them."""
    strips = [
        (video if codec == FRAMES else codec, frames)
        for video, rows in videos.items()
        for codec, frames in rows.items()
    ]
    side = size + _MARGIN
    width = side * max(len(frames) for _, frames in strips)
    page = Image.new("RGB", (width, (side + _LABEL) * len(strips)), "white")
    draw = ImageDraw.Draw(page)
    for row, (name, frames) in enumerate(strips):
        top = row * (side + _LABEL)
        draw.text((_MARGIN, top), name, fill="black")
        for column, frame in enumerate(frames):
            page.paste(Image.fromarray(frame), (column * side, top + _LABEL))
    return page
