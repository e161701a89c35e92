"""The command `train-tokenizer`: videos through the pipeline's own decoder into the VQGAN's training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from pipeline.decode import DecodeConfig, Decoder
from pipeline.inputs import local_file
from pipeline.interrupt import raise_if_stopping, stop_on_signals
from pipeline.manifest import read_manifest
from pipeline.progress import console
from schemas.errors import ConfigError, InputError
from tokenizer.train import TokenizerTrainConfig, train_tokenizer

FLAT = arg(name="")


@dataclass(frozen=True, kw_only=True)
class TrainTokenizer:
    """Train a VQGAN on the frames of videos and images. The file at --out is refreshed as it goes."""

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT ...")]
    """Folders of videos and images, single files, or manifests; items of the split `val` are left out."""
    out: Path
    """The .safetensors file to write; its metrics stand beside it in a .jsonl."""
    initial: Path | None = None
    """A checkpoint to begin at."""
    train: Annotated[TokenizerTrainConfig, FLAT] = field(default_factory=TokenizerTrainConfig)
    decode: DecodeConfig = field(default_factory=lambda: DecodeConfig(size=160))

    def __call__(self, options: tuple[str, ...]) -> None:
        """Train, printing a line at each measurement."""
        items = read_manifest(self.inputs).items.to_pylist()
        uris = [item["uri"] for item in items if item["kind"] in ("video", "image") and item["split"] != "val"]
        if not uris:
            raise ConfigError(f"no video or image to train on in {', '.join(self.inputs)}")
        console.print(f"train-tokenizer: {len(uris)} videos and images, {self.train.steps} steps")
        with stop_on_signals(), Decoder(self.decode) as decoder:
            frames = VideoFrames(uris, decoder, seed=self.train.seed)
            train_tokenizer(self.train, frames, out=self.out, initial=self.initial, on_metrics=_report)
        console.print(f"train-tokenizer: {self.out}")


class VideoFrames:
    """Frames [n, H, W, 3] of many videos; every iteration goes through all of them, in another order."""

    def __init__(self, uris: list[str], decoder: Decoder, *, seed: int) -> None:
        self._uris, self._decoder = uris, decoder
        self._rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for index in self._rng.permutation(len(self._uris)):
            uri = self._uris[index]
            try:
                with local_file(uri) as path:
                    for frames, _ in self._decoder.frames(path):
                        raise_if_stopping()
                        yield frames
            except InputError as e:
                console.print(f"train-tokenizer: left out: {uri}: {e}")


def _report(metrics: Mapping[str, Any]) -> None:
    raise_if_stopping()
    facts = (f"{name} {value:.4g}" for name, value in metrics.items() if name != "step")
    console.print(f"step {metrics['step']:.0f}: {', '.join(facts)}")
