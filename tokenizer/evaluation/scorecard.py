"""Presentation of an evaluation: a Markdown table, and an image of frames with their reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from schemas.counted import counted
from tokenizer.evaluation.evaluate import Estimate, Evaluation

FRAMES = "frames"  # the row of original frames
_DIGITS = {"psnr": 2, "ssim": 3, "flicker": 2, "distance": 3, "utilization": 3, "perplexity": 0, "frechet": 5}
_UNITS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "flicker": "flicker",
    "utilization": "utilization",
    "distance": "perceptual distance",
}
_MARGIN, _LABEL = 2, 14  # pixels


def markdown(rows: Mapping[str, Evaluation], facts: Mapping[str, Any]) -> str:
    """Return a table with one row per video and baseline, and one column per measure."""
    first = next(iter(rows.values()))
    names = list(first.tokens)
    title = (
        f"`{facts['tokenizer']}` at {facts['bits_per_pixel']:.4f} bits per pixel "
        f"({facts['bytes_per_frame']} bytes per frame), {facts['fps']:g} frames per second; 95 % intervals in brackets"
    )
    if first.baselines:
        title += f"; baselines at the same size: {', '.join(first.baselines)}"
    lines = [title, "", f"| video | frames | {' | '.join(_UNITS.get(name, name) for name in names)} |"]
    lines += ["|---" * (2 + len(names)) + "|"]
    for video, score in rows.items():
        cells = [_cell(score.tokens.get(name), name) for name in names]
        lines.append(f"| {video} | {score.frames} | {' | '.join(cells)} |")
        for baseline, found in score.baselines.items():
            lines.append(f"| &nbsp; {baseline} | | {' | '.join(_cell(found.get(name), name) for name in names)} |")
    return "\n".join(lines) + "\n"


def distance_table(
    rows: Mapping[str, Mapping[str, Estimate]], loss: Mapping[str, Estimate], facts: Mapping[str, Any]
) -> str:
    """Return a table of distances by set of videos and features, with what the tokenizer loses below it."""
    names = list(next(iter(rows.values())))
    headings = [f"{name} ({facts['dims'][name]} dims)" for name in names]
    lines = [
        f"Fréchet distance to real videos; `{facts['tokenizer']}`, clips of {counted(facts['frames'], 'frame')}, "
        f"{facts['fps']:g} per second; 95 % intervals in brackets. Neither FID nor FVD.",
        "",
        f"| videos | {' | '.join(headings)} |",
        "|---" * (1 + len(names)) + "|",
        *(f"| {video} | {' | '.join(_cell(row[name], 'frechet') for name in names)} |" for video, row in rows.items()),
        "",
        f"{counted(facts['videos']['generated'], 'generated video')} ({counted(facts['clips']['generated'], 'clip')}), "
        f"{facts['videos']['real']} real ones ({counted(facts['clips']['real'], 'clip')}). The tokenizer alone loses: "
        f"PSNR {_cell(loss['psnr'], 'psnr')} dB, SSIM {_cell(loss['ssim'], 'ssim')}.",
    ]
    short = [name for name in names if min(facts["clips"].values()) <= 2 * facts["dims"][name]]
    if short:
        lines += ["", f"Too few clips for {', '.join(short)}: fewer than two for each dim of a half."]
    return "\n".join(lines) + "\n"


def _cell(estimate: Estimate | None, name: str) -> str:
    if estimate is None:
        return ""
    digits = _DIGITS[name]
    if estimate.low is None:
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def grid(videos: Mapping[str, Mapping[str, NDArray[np.uint8]]], *, size: int) -> Image.Image:
    """Return for each video its frames `[n, size, size, 3]`, and below them the output of each codec."""
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
