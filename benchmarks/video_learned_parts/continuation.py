"""The PSNR of a model's continuations of held-out videos, next to that of repeating the last frame.

    generated    the model's continuation of the given frames, decoded
    repeated     the last given frame, decoded from its tokens
    decoded      the true frame, decoded from its tokens: the most that any continuation can expect

Each is compared with the source frame; the figures are means over the documents of videos of the split `val`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.inference.loading import load_engine
from pipeline.inference.text_to_video import frame_codes
from pipeline.reports.reconstruction import StoredVideo, codes_of, prompt_of, source_frames
from pipeline.runtime.token_store import StoreFacts, TokenStore
from pipeline.runtime.workspace import Workspace
from pipeline.video.decoder import DecodeConfig
from schemas.rows import document_rows
from schemas.storage.location import located
from schemas.vocab import VISION
from tokenizer.codec import FrameCodec
from tokenizer.evaluation.evaluate import psnr
from trainer.inference.engine import EngineConfig
from trainer.inference.requests import FrameLimits, Request, Sampling, StopConditions

_ROWS = 12  # continued together


@dataclass(frozen=True)
class Continued:
    """How videos are continued."""

    given: int = 8  # frames of the prompt
    frames: int = 8  # to generate
    temperature: float = 0.5


def held_out_videos(workspace: Workspace, least: int) -> list[StoredVideo]:
    """Return the stored videos of `val` with more than `least` frames before their first text."""
    store = TokenStore(workspace.tokens)
    rows = [row for row in document_rows(store.table()) if row.kind == "video" and row.split == "val"]
    videos = [StoredVideo(row, store.read(row.unit, row.batch, row.row)) for row in rows]
    return [video for video in videos if _first_frames(video) > least]


def _first_frames(video: StoredVideo) -> int:
    lengths = [span.length for span in video.row.spans if span.modality == VISION]
    return lengths[0] // video.row.frame_tokens if lengths else 0


def frame_figures(folder: Path, model: Path, settings: Continued) -> dict[str, list[float]]:
    """Return the mean PSNR in dB of each new frame, by what made it, and the number of clips."""
    workspace = Workspace.existing(located(folder))
    facts = StoreFacts.read(workspace.tokens)
    per_frame, vocabulary = int(np.prod(facts.frame_grid)), facts.vocabulary
    engine, _ = load_engine(model, EngineConfig(rows=_ROWS), frame_tokens=per_frame)
    codec = FrameCodec.load("small-128")
    videos = held_out_videos(workspace, settings.given)
    requests = [
        Request(
            prompt=prompt_of(video, settings.given),
            max_tokens=settings.frames * (per_frame + 1),
            sampling=Sampling(temperature=settings.temperature),
            stop=StopConditions(),
            frames=FrameLimits(least=settings.frames, most=settings.frames),
        )
        for video in videos
    ]
    table = {name: np.full((len(videos), settings.frames), np.nan) for name in ("generated", "repeated", "decoded")}
    decode = DecodeConfig(size=facts.frame_size, fps=facts.frame_rate)
    for number, (video, reply) in enumerate(zip(videos, engine.generate(requests), strict=True)):
        known = codes_of(video, vocabulary)
        shown = min(settings.given + settings.frames, _first_frames(video))
        true = source_frames(video, decode, shown)[settings.given :]
        made = {
            "generated": codec.decode(frame_codes(reply.ids, vocabulary, per_frame))[: len(true)],
            "repeated": np.repeat(codec.decode(known[settings.given - 1 : settings.given]), len(true), axis=0),
            "decoded": codec.decode(known[settings.given : settings.given + len(true)]),
        }
        for name, frames in made.items():
            table[name][number, : len(true)] = psnr(frames, true)
    return {name: [round(float(x), 2) for x in np.nanmean(values, axis=0)] for name, values in table.items()} | {
        "clips": [int(x) for x in (~np.isnan(table["decoded"])).sum(0)]
    }
