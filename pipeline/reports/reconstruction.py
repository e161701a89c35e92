"""The comparison image of `longreel generate`: source frames, their reconstruction from tokens, the continuation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from pipeline.sources.inputs import local_file
from pipeline.tokenize.interleave import VisionSegment, parse_document
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError, DatasetError
from schemas.files import atomic
from schemas.record_errors import record_errors
from schemas.records import item_of
from schemas.rows import DocumentRow, document_rows
from schemas.vocab import VISION, Vocabulary

_LABEL_PIXELS, _GAP_PIXELS = 18, 2
_MARK = "red"  # of what a model generated


@dataclass(frozen=True)
class StoredVideo:
    """A tokenized video: its index row and its tokens [length]."""

    row: DocumentRow
    tokens: NDArray[Any]


def find_video(workspace: Workspace, name: str | None) -> StoredVideo:
    """Return the stored video whose URI contains `name`; without a name, the first of the validation split or of all.

    Raises ConfigError, which lists the stored videos, if no video or several match; DatasetError if its
    unit is damaged.
    """
    store = TokenStore(workspace.tokens)
    table = store.table()
    rows = document_rows(table.filter(pc.equal(table["kind"], "video")))
    names = sorted({Path(row.uri).name for row in rows})
    matching = [row for row in rows if name is None or name in row.uri]
    items = {item_of(row.document_id) for row in matching}  # of an item stored as clips, the first clip is taken
    if not rows:
        raise ConfigError(f"{workspace.root} has no tokenized video")
    if not matching or (name is not None and len(items) > 1):
        raise ConfigError(f"--video {name!r} matches {len(items)} stored videos; give one of: {', '.join(names)}")
    row = min(matching, key=lambda r: (r.split != "val", r.uri, r.document_id))
    store.check(row.unit)
    return StoredVideo(row, store.read(row.unit, row.batch, row.row))


def prompt_of(video: StoredVideo, frames: int) -> NDArray[Any]:
    """Return the video's tokens up to the end of its first `frames` frames."""
    span = next((s for s in video.row.spans if s.modality == VISION), None)
    frame_tokens = video.row.frame_tokens
    if span is None or span.length <= frames * frame_tokens:
        held = 0 if span is None else span.length // frame_tokens
        raise ConfigError(f"{video.row.uri} has {held} frames before its first text; got --prompt-frames {frames}")
    return video.tokens[: span.start + frames * frame_tokens]


def codes_of(video: StoredVideo, vocabulary: Vocabulary) -> NDArray[Any]:
    """Return the codes [T, P] of all frames of a stored video."""
    segments = parse_document(video.tokens, vocabulary=vocabulary, frame_tokens=video.row.frame_tokens)
    return np.concatenate([segment.codes for segment in segments if isinstance(segment, VisionSegment)])


def source_frames(video: StoredVideo, config: DecodeConfig, count: int) -> NDArray[np.uint8]:
    """Decode the first `count` frames of the source video, or of its clip, uint8 [n, H, W, 3]."""
    clip, crop = video.row.clip, video.row.crop
    first = round(clip.start * config.fps) if clip else 0
    batches: list[NDArray[np.uint8]] = []
    with record_errors(video.row.uri), local_file(video.row.uri) as path, Decoder(config) as decoder:
        seen = 0
        for frames, _ in decoder.frames(path, crop=crop):
            batches.append(frames[max(0, first - seen) :])
            seen += len(frames)
            if seen >= first + count:
                break
    if not sum(map(len, batches)):
        raise DatasetError(f"{video.row.uri} can no longer be decoded")
    return np.concatenate(batches)[:count]


def write_rows(
    path: Path, rows: Mapping[str, NDArray[np.uint8]], columns: int, *, title: str, generated_from: int
) -> None:
    """Write a title and labeled rows of frames [n, H, W, 3] as one PNG; of longer rows the first `columns` are shown.

    A red line separates the first `generated_from` frames of each row from those to compare with generated ones, and
    the generated frames, those of the last row, have a red frame.
    """
    height, width = next(iter(rows.values())).shape[1:3]
    step_y, step_x = height + _LABEL_PIXELS + _GAP_PIXELS, width + _GAP_PIXELS
    size = (step_x * columns - _GAP_PIXELS, step_y * len(rows) + _LABEL_PIXELS)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((4, 3), title, fill="black")
    for y, (label, frames) in enumerate(rows.items()):
        top = _LABEL_PIXELS + y * step_y
        draw.text((4, top + 3), label, fill="black")
        for x, frame in enumerate(frames[:columns]):
            place = (x * step_x, top + _LABEL_PIXELS)
            canvas.paste(Image.fromarray(frame), place)
            if y == len(rows) - 1 and x >= generated_from:
                draw.rectangle((*place, place[0] + width - 1, place[1] + height - 1), outline=_MARK, width=_GAP_PIXELS)
    line = generated_from * step_x - _GAP_PIXELS
    draw.rectangle((line, _LABEL_PIXELS, line + _GAP_PIXELS - 1, size[1]), fill=_MARK)
    draw.text((line + 6, size[1] - step_y + 3), "generated", fill=_MARK)
    with atomic(path) as temporary:
        canvas.save(temporary, format="PNG")
