"""Pictures and videos as ids of a model's vocabulary: `frame eof frame … frame eov`, as in the training data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.language_models.chat import Media
from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.spread_frames import spread_indices, thinned_frames
from schemas.errors import ConfigError
from schemas.vocab import Vocabulary
from tokenizer.codec import FrameCodec

_MOST_HELD = 1024  # frames in memory


@dataclass(frozen=True)
class MediaEncoder:
    """Encodes media with the VQGAN that the model was trained with."""

    codec: FrameCodec
    vocabulary: Vocabulary
    most_frames: int = 8  # of a video; 0: as many as the context holds
    frame_rate: float = 1.0  # frames a second that are decoded; some of them are chosen

    def __post_init__(self) -> None:
        if self.most_frames < 0:
            raise ConfigError(f"most_frames must not be negative (0: as many as fit), got {self.most_frames}")
        if not self.vocabulary.vision_size:
            raise ConfigError("this model has no vocabulary for vision: ask it without pictures and videos")
        self.codec.require_encoder_of(self.vocabulary)

    @property
    def frame_tokens(self) -> int:
        """Number of codes of a frame."""
        return math.prod(self.codec.grid)

    def __call__(self, media: Media, *, room: int) -> NDArray[np.uint32]:
        """Return the ids [n] of a picture or video; raises InputError if it cannot be decoded.

        `room` is for how many ids there is room; it only decides about the frames if `most_frames` is 0.
        """
        most = self.most_frames or max(1, room // (self.frame_tokens + 1))
        return self.ids(choose_frames(self._frames(media.path, most), most))

    def ids(self, frames: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Return the ids [n·(P+1)] of frames [n, H, W, 3]: P codes each, then <eof>, or <eov> after the last."""
        codes = self.codec.encode(frames).reshape(len(frames), -1)
        ids = np.empty((len(codes), codes.shape[1] + 1), np.uint32)
        ids[:, :-1] = codes.astype(np.uint32) + self.vocabulary.text_size
        ids[:, -1] = self.vocabulary.eof
        ids[-1, -1] = self.vocabulary.eov
        return ids.reshape(-1)

    def _frames(self, path: Path, most: int) -> NDArray[np.uint8]:
        with Decoder(DecodeConfig(fps=self.frame_rate, size=self.codec.frame_size)) as decoder:
            return thinned_frames(decoder, path, held=max(_MOST_HELD, 2 * most))[0]


def choose_frames(frames: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return at most `count` of the frames [n, H, W, 3], at equal distances from the first to the last, as LWM does."""
    return frames[spread_indices(len(frames), count)]
