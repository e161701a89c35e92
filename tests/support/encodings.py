"""Long videos of one studio whose pictures are known at any time, so that they can be encoded in different ways."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.inputs.media import make_video

SIZE = (64, 48)
_ROOM = np.random.default_rng(0).integers(30, 200, (12, 16), np.uint8).repeat(4, 0).repeat(4, 1)


@dataclass(frozen=True)
class Studio:
    """A guest in front of the same wall in every video, who moves now and then; `seed` decides when and where to."""

    seed: int
    seconds: float

    def picture(self, time_s: float) -> NDArray[np.uint8]:
        """Return the picture [48, 64, 3] at a time."""
        rng = np.random.default_rng([7, self.seed])
        moves = np.cumsum(rng.exponential(3.0, 200))
        places = rng.uniform((8, 6), (30, 40), (201, 2))
        number = int(np.searchsorted(moves, time_s))
        begin = moves[number - 1] if number else 0.0
        share = min(1.0, (time_s - begin) / 0.8)
        y, x = (places[max(0, number - 1)] * (1 - share) + places[number] * share).astype(int)
        shown = _ROOM.copy()
        shown[y : y + 18, x : x + 14] = 225
        shown[y + 4 : y + 8, x + 3 : x + 11] = 60
        return np.ascontiguousarray(np.broadcast_to(shown[..., None], (*shown.shape, 3)))

    def write(
        self,
        path: Path,
        *,
        rate: int = 10,
        start_s: float = 0.0,
        end_s: float | None = None,
        key_frame_s: float = 10.0,
        mirrored: bool = False,
        codec: str = "libx264",
        **options: Any,
    ) -> Path:
        """Encode the video from `start_s` to `end_s` with key frames at a fixed interval."""
        step = -1 if mirrored else 1
        found = {"g": str(round(key_frame_s * rate)), **options}
        if codec == "libx264":
            found = {"sc_threshold": "0", "preset": "ultrafast", **found}
        return make_video(
            path,
            codec=codec,
            size=SIZE,
            rate=rate,
            frames=round(((end_s or self.seconds) - start_s) * rate),
            picture=lambda i: np.ascontiguousarray(self.picture(start_s + i / rate)[:, ::step]),
            options=found,
        )
