"""Trains a small model on sample videos, with the commands of Longreel, and compares it with copying frames.

    python benchmarks/video_learned.py [--smoke] [--more VIDEO ...] [--keep DIR] [--ship DIR] [--out FILE]

    samples ──► variants and slide shows ──► run ──► train ──► eval loss, continuations of held-out videos

The videos of the split `train` of the samples, and those of --more, become variants and slide shows
(`video_learned_parts/material.py`). From the variants alone a model learns what is in these few videos, and nothing
about others; with the slide shows, of which no two are alike, it has to look at the last frame. No frame of the
samples' held-out videos is in either. Printed are the held-out loss of the vision tokens after each stage, that of
the baseline that copies the last frame (`copying.py`), and the PSNR of the new frames in dB (`continuation.py`).
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from support.commands import run_longreel
from video_learned_parts.continuation import Continued, frame_figures
from video_learned_parts.copying import copy_losses
from video_learned_parts.material import SLIDE_FRAMES, VARIANTS, Variant, write_slides, write_variants
from video_learned_parts.shipping import ship

from pipeline.sources.samples.media import synthesize
from schemas.storage.location import located
from trainer.config import MeshConfig
from trainer.evaluation.loss import LossConfig, measure_loss

_MODEL = {"dim": 192, "layers": 4, "heads": 3, "kv-heads": 1, "head-dim": 64, "ff-dim": 512, "qkv-bias": True}
_SMALLEST = {"dim": 16, "layers": 1, "heads": 2, "kv-heads": 1, "head-dim": 8, "ff-dim": 32, "qkv-bias": True}
_FILES = 8  # of slide shows; the first is held out
_RATE = 4e-3


@dataclass(frozen=True)
class Options:
    """Train a model on sample videos."""

    steps: int = 1500  # with three slide shows to a variant
    more_steps: int = 400  # after them, with more variants and a falling learning rate
    slides: int = 2000
    more: tuple[Path, ...] = ()  # further videos
    continued: Continued = field(default_factory=Continued)
    smoke: bool = False  # generated videos, a tiny model, two steps and one stage
    keep: Path | None = None  # a folder to keep everything in, where an interrupted run continues
    ship: Path | None = None  # write the model to this new folder, as `longreel samples` gives it
    out: Path | None = None  # write the figures to this JSON file


@dataclass(frozen=True)
class Experiment:
    """The folder, and what is made in it."""

    folder: Path
    options: Options

    def longreel(self, *words: object) -> None:
        """Run a command in a process of its own; in a smoke run in this one, which has imported most already."""
        run_longreel(*words, own_process=not self.options.smoke)

    @property
    def context(self) -> int:
        """Tokens of a sequence."""
        return 2048 if self.options.smoke else 4096

    def dataset(self, name: str) -> Path:
        """Return the dataset of a workspace."""
        return self.folder / name / "packed" / str(self.context)

    def prepare(self) -> None:
        """Write the videos, the text tokenizer and both workspaces, unless they are there."""
        samples, text = self.folder / "samples", self.folder / "text.model"
        if self.options.smoke:
            synthesize(samples, videos=3, frames=48)
        else:
            self.longreel("samples", "--out", samples)
        if not self.dataset("slides").exists():
            self._write_videos(samples)
            self.longreel("train-text-tokenizer", samples / "books", "--out", text, "--vocab-size", 2048)
            self._run("videos", text, "shots", 3)
            self._run("slides", text, "seconds", SLIDE_FRAMES / 8)

    def _run(self, name: str, text: Path, clips: str, seconds: float) -> None:
        self.longreel(
            *("run", self.folder / f"{name}.jsonl", "--out", self.folder / name, "--text-tokenizer", text),
            *("--shots", "content" if clips == "shots" else "none"),
            *("--context", self.context, "--decode.fps", 8, "--clips", clips, "--max-clip-s", seconds),
            "--select.no-remove-near-duplicates",
        )

    def _write_videos(self, samples: Path) -> None:
        rows = [json.loads(line) for line in (samples / "manifest.jsonl").read_text().splitlines()]
        rows = [row | {"uri": str(samples / row["uri"])} for row in rows]
        videos = [row for row in rows if row["kind"] == "video" and row["split"] == "train"]
        kept = [row for row in rows if row not in videos and not (self.options.smoke and row["kind"] == "book")]
        videos += [{"uri": str(path.resolve()), "kind": "video", "split": "train"} for path in self.options.more]
        (self.folder / "files").mkdir(exist_ok=True)
        variants = VARIANTS if not self.options.smoke else (Variant(),)
        made = [
            row | {"uri": str(path)}
            for row in videos
            for path in write_variants(Path(row["uri"]), self.folder / "files", variants)
        ]
        self._write_manifest("videos", [*kept, *made])
        rng, shows = np.random.default_rng(0), []
        for number in range(2 if self.options.smoke else _FILES):
            path = self.folder / "files" / f"slides-{number}.mp4"
            count = 2 if self.options.smoke else self.options.slides // _FILES
            write_slides([Path(row["uri"]) for row in videos], path, count, rng)
            shows.append({"uri": str(path), "kind": "video", "split": "train" if number else "val"})
        self._write_manifest("slides", shows)

    def _write_manifest(self, name: str, rows: list[dict[str, str]]) -> None:
        (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def train(self) -> Path:
        """Train the model in two stages, a smoke run in one, and return the folder of the last."""
        smoke, first, second = self.options.smoke, self.folder / "first", self.folder / "second"
        sizes = _SMALLEST if smoke else _MODEL
        model = [word for name, value in sizes.items() for word in (f"--model.{name}", value)]
        steps = 2 if smoke else self.options.steps
        self._train(first, 0.75, steps, "constant", 20, "--model.recipe", "small", *model, "--model.rope-theta", 1e4)
        if smoke:
            return first
        self._train(second, 0.3, self.options.more_steps, "linear", 5, "--init-from", first)
        return second

    def _train(self, out: Path, slides: float, steps: int, schedule: str, warmup: int, *more: object) -> None:
        datasets = (f"{self.dataset('slides')}:{slides}", f"{self.dataset('videos')}:{round(1 - slides, 2)}")
        rate = ("--optimizer.learning-rate", _RATE, "--optimizer.warmup-steps", min(warmup, steps // 2))
        self.longreel(
            *("train", "--dataset", *datasets, "--out", out, "--steps", steps, "--batch-size", 1),
            *("--softmax", "by_modality", "--optimizer.name", "muon", "--optimizer.schedule", schedule, *rate),
            *("--eval-every", 0, "--remat", "projections", *more),
        )


def loss_of(model: Path, dataset: Path) -> float:
    """Return the held-out loss of the vision tokens."""
    config = LossConfig(model=located(model), dataset=(located(dataset),))
    return float(measure_loss(config, MeshConfig())["vision_loss"])


def measure(options: Options, folder: Path) -> dict[str, Any]:
    """Train and measure."""
    experiment = Experiment(folder, options)
    experiment.prepare()
    model, dataset = experiment.train(), experiment.dataset("videos")
    if options.ship is not None:
        ship(model, options.ship)
    losses = {run.name: loss_of(run, dataset) for run in sorted({folder / "first", model})}
    return losses | copy_losses(dataset) | frame_figures(folder / "videos", model, options.continued)


def main(options: Options) -> None:
    """Measure and print."""
    if options.smoke:
        options = replace(options, continued=Continued(given=2, frames=1))
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        figures = measure(options, folder.resolve())
    for name, values in figures.items():
        print(f"{name:16}", *(f"{value:7.3f}" for value in (values if isinstance(values, list) else [values])))
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
