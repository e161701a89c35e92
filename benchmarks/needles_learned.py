"""Trains a small model that finds needles, with the commands of Longreel only, and a control that does not.

    python benchmarks/needles_learned.py [--smoke] [--longest 512] [--keep DIR] [--out needles.json]

    text ──► synth copy, synth needle ──► run ──► train --curriculum ──► eval needle

The curriculum begins with copying (blocks of random length, repeated), then hides needles in contexts that double from
128 tokens to `--longest`. The control does not copy; its first stage of needles has the steps of both instead.
The evaluation hides one needle at 11 depths, ten times each, in text with which no document of the training was made,
then asks for 2 of 4 needles; each context with the model after its stage. Columns: the share of numbers that were
found, the least share at a depth, the samples, and the processor time of all the training in seconds.
"""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from support.commands import children_cpu_s, run_longreel

ROOT = Path(__file__).parents[1]
_PROSE = ROOT / "benchmarks/support/prose/en.txt"
_SHORTEST = 256  # a shorter context has no room for the question and the reply of the evaluation
_COPYING = 512  # tokens of a document of copying
_NEEDLES = {128: 1, 256: 2, 512: 4, 1024: 8, 2048: 16, 4096: 24}  # in a document of each length
_STEPS = {128: 250, 256: 300, 512: 600, 1024: 600, 2048: 600, 4096: 800}
_COPY_STEPS = 600
_BATCH_TOKENS = 4096
_DEPTHS, _ROUNDS = 11, 10
_MODEL = {"dim": 64, "layers": 3, "heads": 4, "kv-heads": 2, "head-dim": 16, "ff-dim": 160, "tile": 64, "chunk": 512}
_SMALLEST = _MODEL | {"dim": 16, "layers": 1, "heads": 2, "kv-heads": 1, "head-dim": 8, "ff-dim": 32}


@dataclass(frozen=True)
class Options:
    """Train a model that finds needles."""

    longest: int = 512  # longest context: 256, 512, ..., 4096
    seed: int = 0  # of documents and parameters
    documents: int = 1500  # of each kind and length
    copy_steps: int = _COPY_STEPS  # steps of the stage of copying
    learning_rate: float = 3e-3  # of the first stage; the later ones have two thirds of it
    control: bool = True  # also train the model without copying
    smoke: bool = False  # few documents and steps, one context, and the control only
    keep: Path | None = None  # a folder to keep everything in, where an interrupted run continues
    out: Path | None = None  # write the figures to this JSON file


@dataclass(frozen=True)
class Score:
    """What `eval needle` found for one model."""

    model: str
    context: int
    task: str
    found: float
    least: float  # at a depth
    samples: int
    cpu_s: float  # of the training


@dataclass(frozen=True)
class Experiment:
    """The folder, and what is trained in it."""

    folder: Path
    options: Options

    @property
    def tokenizer(self) -> Path:
        """The text tokenizer."""
        return self.folder / "tokenizer.model"

    @property
    def model(self) -> dict[str, int]:
        """The sizes of the models."""
        return _SMALLEST if self.options.smoke else _MODEL

    @property
    def lengths(self) -> list[int]:
        """The contexts with needles."""
        return [256] if self.options.smoke else [length for length in _NEEDLES if length <= self.options.longest]

    def longreel(self, *words: object) -> None:
        """Run a command in a process of its own; in a smoke run in this one, which has imported most already."""
        run_longreel(*words, own_process=not self.options.smoke)

    def prepare(self) -> None:
        """Write texts, a tokenizer, the items and the workspace, unless they are there."""
        if (self.folder / "workspace" / "packed").exists():
            return
        for number, name in enumerate(("train", "test")):
            (self.folder / f"{name}.txt").write_text(_text(number))
        self._train_tokenizer()
        self._synth("copy", _COPYING, self.options.documents)
        for length in self.lengths:
            asked = (1,) if _NEEDLES[length] == 1 else (1, 2)
            self._synth("needle", length, self.options.documents, "--needles", _NEEDLES[length], "--asked", *asked)
        manifests = sorted(self.folder.glob("items/*/manifest.jsonl"))
        workspace = ("--out", self.folder / "workspace", "--text-tokenizer", self.tokenizer)
        self.longreel("run", *manifests, *workspace, "--context", self.lengths[-1])

    def _train_tokenizer(self) -> None:
        """Train a tokenizer on documents like those of the training; their lengths need one, which text alone gives."""
        text, first = self.folder / "train.txt", self.folder / "first.model"
        self.longreel("train-text-tokenizer", text, "--out", first, "--vocab-size", 2048)
        samples = self.folder / "samples"
        for task, more in (("needle", ("--haystack", text, "--needles", 4)), ("copy", ())):
            where = ("--out", samples / task, "--text-tokenizer", first)
            self.longreel("synth", task, *where, "--length", 2048, "--count", 2 if self.options.smoke else 50, *more)
        corpus = [text, *sorted(samples.glob("*/manifest.jsonl"))]
        self.longreel("train-text-tokenizer", *corpus, "--out", self.tokenizer, "--vocab-size", 2048)

    def _synth(self, task: str, length: int, count: int, *more: object) -> None:
        where = ("--out", self.folder / "items" / f"{task}-{length}", "--text-tokenizer", self.tokenizer)
        text = ("--haystack", self.folder / "train.txt") if task == "needle" else ()
        self.longreel(
            "synth", task, *where, *text, "--length", length, "--count", count, "--seed", self.options.seed, *more
        )

    def train(self, model: str) -> float:
        """Train one model, and return the processor time in seconds."""
        file = self.folder / f"{model}.toml"
        file.write_text("\n".join(self._curriculum(copying=model == "copying")))
        before = children_cpu_s()
        self.longreel(
            *("train", "--curriculum", file, "--workspace", self.folder / "workspace", "--out", self.folder / model)
        )
        return children_cpu_s() - before

    def _curriculum(self, *, copying: bool) -> Iterator[str]:
        rate, copy_steps = self.options.learning_rate, 2 if self.options.smoke else self.options.copy_steps
        yield f"[train]\nseed = {self.options.seed}\neval-every = 100\neval-sequences = 8\nsoftmax = 'by_modality'"
        yield "[train.model]\n" + "\n".join(f"{name} = {value}" for name, value in self.model.items())
        yield f"max-positions = {max(_COPYING, self.lengths[-1])}\nrope-theta = 1e4"
        yield "[train.optimizer]\nweight-decay = 0.01\nbeta2 = 0.98"
        if copying:
            yield from self._stage("copy", _COPYING, copy_steps, f"copy-{_COPYING}", rate)
        for length in self.lengths:
            steps = 2 if self.options.smoke else _STEPS[length]
            first = not copying and length == self.lengths[0]
            more = copy_steps if first else 0
            yield from self._stage(
                f"needle-{length}", length, steps + more, f"needle-{length}", rate if first else 2 / 3 * rate
            )

    def _stage(self, name: str, context: int, steps: int, source: str, rate: float) -> Iterator[str]:
        sources = [f"copy-{_COPYING}", *(f"needle-{length}" for length in self.lengths)]
        epochs = ", ".join(f'"{other}" = {int(other == source)}' for other in sources)
        yield f"[[stage]]\nname = '{name}'\ncontext = {context}\nsource_epochs = {{{epochs}}}"
        yield f"[stage.train]\nsteps = {steps}\nbatch-size = {max(1, _BATCH_TOKENS // context)}"
        yield f"optimizer = {{learning-rate = {rate:g}}}"

    def evaluate(self, model: str, context: int, *, needles: int, asked: int, cpu_s: float) -> Score:
        """Ask the model after the stage of a context."""
        out = self.folder / "evaluation" / f"{model}-{asked}-of-{needles}-{context}"
        rounds = 1 if self.options.smoke else _ROUNDS
        self.longreel(
            *("eval", "needle", "--haystack", self.folder / "test.txt", "--lengths", context, "--needles", needles),
            *("--asked", asked, "--depths", 2 if self.options.smoke else _DEPTHS, "--rounds", rounds),
            *("--text-tokenizer", self.tokenizer, "--template-tokens", 40, "--seed", 1000),
            *("--model", self.folder / model / f"needle-{context}", "--out", out),
        )
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
        least = min(cell["score"] for cell in summary["cells"])
        figures = summary["all"]
        return Score(model, context, f"{asked} of {needles}", figures["score"], least, figures["samples"], cpu_s)


def _text(number: int) -> str:
    """Return a long text of real sentences in a random order."""
    rng, sentences = random.Random(number), re.split(r"(?<=[.!?])\s+", _PROSE.read_text())
    filled = [sentence.strip() for sentence in sentences if sentence.strip()]
    paragraphs = (" ".join(rng.choices(filled, k=6)) for _ in range(300))
    return "\n\n".join(paragraphs) + "\n"


def measure(options: Options, folder: Path) -> list[Score]:
    """Train and evaluate the models."""
    experiment, scores = Experiment(folder, options), []
    experiment.prepare()
    models = ("copying", "control") if options.control else ("copying",)
    for model in models if not options.smoke else ("control",):  # of one stage
        cpu_s = experiment.train(model)
        contexts = experiment.lengths if model == "copying" else experiment.lengths[-1:]
        for context in (context for context in contexts if context >= _SHORTEST):
            scores.append(experiment.evaluate(model, context, needles=1, asked=1, cpu_s=cpu_s))
            if _NEEDLES[context] >= 4 and model == "copying":
                scores.append(experiment.evaluate(model, context, needles=4, asked=2, cpu_s=cpu_s))
    return scores


def main(options: Options) -> None:
    """Measure and print."""
    allowed = [length for length in _NEEDLES if length >= _SHORTEST]
    if options.longest not in allowed:
        raise SystemExit(f"--longest must be one of {', '.join(map(str, allowed))}")
    if options.smoke:
        options = Options(
            documents=30, seed=options.seed, control=False, smoke=True, keep=options.keep, out=options.out
        )
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        scores = measure(options, folder.resolve())
    print(f"{'model':8} {'context':>7} {'needles':>8} {'found':>7} {'least':>7} {'samples':>7} {'CPU s':>7}")
    for one in scores:
        print(
            f"{one.model:8} {one.context:7} {one.task:>8} {one.found:7.3f} {one.least:7.3f} {one.samples:7} "
            f"{one.cpu_s:7.0f}"
        )
    if options.out is not None:
        options.out.write_text(json.dumps([asdict(one) for one in scores], indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
