"""Pictures and videos from a description, in the engine of the server: OpenAI's /v1/images/generations.

A video is a longer request of the same kind (`frames`), and its data are an MP4 file.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.generated_files import contact_sheet, png_bytes
from pipeline.inference.media import MediaEncoder
from pipeline.inference.prompts import Prompts
from pipeline.inference.text_to_video import VideoPrompts, VideoRequest
from pipeline.serving.bodies import PicturesBody
from pipeline.serving.errors import ApiError
from pipeline.serving.generation import sampling_of
from pipeline.serving.worker import EngineWorker
from pipeline.video.writing import write_video
from trainer.inference.requests import Request


class Pictures:
    """Generates for one model; `count` is called with the number of ids that were generated."""

    def __init__(self, prompts: Prompts, worker: EngineWorker, *, count: Callable[[int], None]) -> None:
        self._prompts, self._worker, self._count = prompts, worker, count

    @property
    def possible(self) -> bool:
        """Whether the model draws: it has ids of frames and their marks, and the VQGAN is here."""
        media = self._prompts.media
        return media is not None and self._worker.engine.grammar is not None and bool(media.vocabulary.begin_vision)

    async def generated(self, body: PicturesBody) -> list[dict[str, Any]]:
        """Return the files of all samples, as objects of the reply.

        Raises ApiError if the model does not draw, ConfigError if the frames exceed the model.
        """
        media = self._prompts.media
        if media is None or not self.possible:
            raise ApiError(400, "this server does not draw: it needs --vision and a model with ids of frames")
        asked = VideoRequest(
            description=body.prompt,
            frames=body.frames,
            samples=body.n,
            guidance=body.guidance,
            negative=body.negative_prompt,
            style=body.prompt_style,
            sampling=sampling_of(body),
        )
        codes = [await self._codes(asked, n, media) for n in range(body.n)]
        encode = partial(_file, media, rate=body.frame_rate)
        return [await asyncio.to_thread(encode, one) for one in codes]

    async def _codes(self, asked: VideoRequest, sample: int, media: MediaEncoder) -> NDArray[np.uint32]:
        prompts = VideoPrompts(self._prompts.tokenizer, media.vocabulary, media.frame_tokens)
        ids = await self._ids(prompts.first(asked, sample=sample))
        if asked.frames > 1:
            ids += await self._ids(prompts.others(asked, sample=sample, first=ids))
        return prompts.codes(ids)

    async def _ids(self, request: Request) -> list[int]:
        for prompt in request.prompts:
            self._prompts.require_room(len(prompt), request.max_tokens)
        ids: list[int] = []
        async with self._worker.generating(request) as generation:
            async for progress in generation:
                ids += progress.ids
                self._count(len(progress.ids))
        return ids


def _file(media: MediaEncoder, codes: NDArray[np.uint32], *, rate: float) -> dict[str, Any]:
    """Return a picture as PNG, several frames as MP4."""
    frames = media.codec.decode(codes)
    if len(frames) == 1:
        kind, data = "image/png", png_bytes(contact_sheet(frames[None]))
    else:
        with tempfile.TemporaryDirectory(prefix="longreel-serve-") as folder:
            path = Path(folder) / "video.mp4"
            write_video(path, frames, rate=rate)
            kind, data = "video/mp4", path.read_bytes()
    return {"b64_json": base64.b64encode(data).decode(), "media_type": kind}
