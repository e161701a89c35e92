"""The table of subcommands: for each its group, its options (a dataclass, named but not imported), and a summary.

A subcommand is a frozen dataclass whose fields are its options and whose `__call__` takes the options for Beam.
This module imports nothing heavy: `longreel --help` has to be fast and works with any extra installed.
"""

from __future__ import annotations

import difflib
import gc
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.errors import ConfigError


class Command(Protocol):
    """What a subcommand's dataclass provides."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Do the work; `options` are Beam's, given after `--`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Subcommand:
    """One row of the table."""

    group: str
    module: str
    class_name: str
    summary: str
    uses_beam: bool = False

    def load(self) -> type[Command]:
        """Import the dataclass. Raises ConfigError that names the extra to install when a module is missing."""
        logging.disable(logging.WARNING)  # of optional libraries
        collects = gc.isenabled()
        gc.disable()  # imports leave no garbage, and each search for it walks through all that was imported
        try:
            if self.uses_beam and importlib.util.find_spec("apache_beam") is None:  # it is imported by the first job
                raise ModuleNotFoundError(name="apache_beam")
            found: type[Command] = getattr(importlib.import_module(self.module), self.class_name)
        except ModuleNotFoundError as e:
            extra = "trainer" if self.module.startswith("trainer.") else "pipeline"
            extra = "serve" if self.module == "pipeline.cli.serve" else extra
            raise ConfigError(f"the module {e.name!r} is not installed: pip install 'longreel[{extra}]'") from e
        finally:
            logging.disable(logging.NOTSET)
            if collects:
                gc.enable()
        return found


def _group(title: str, *rows: tuple[str, str, str, str], uses_beam: bool = False) -> dict[str, Subcommand]:
    return {
        name: Subcommand(group=title, module=module, class_name=class_name, summary=summary, uses_beam=uses_beam)
        for name, module, class_name, summary in rows
    }


SUBCOMMANDS: dict[str, Subcommand] = {
    **_group(
        "Prepare training data",
        ("run", "pipeline.cli.run", "Run", "run all jobs: survey, dedup, select, tokenize, pack"),
        ("survey", "pipeline.cli.jobs", "Survey", "measure every item and compute its signature"),
        ("select", "pipeline.cli.jobs", "Select", "reject unusable and duplicate items; assign the splits"),
        ("tokenize", "pipeline.cli.jobs", "Tokenize", "decode and encode every selected item, once"),
        ("pack", "pipeline.cli.jobs", "Pack", "pack the tokens into sequences of one or more lengths"),
        uses_beam=True,
    ),
    **_group(
        "Generate training data",
        ("qa", "pipeline.cli.qa", "Qa", "let a language model write questions and answers about books"),
        ("caption", "pipeline.cli.caption", "Caption", "let a model that sees frames write captions of videos"),
        ("synth needle", "pipeline.cli.synth", "SynthNeedle", "write documents with hidden facts and questions"),
        ("synth copy", "pipeline.cli.synth", "SynthCopy", "write documents of repeated blocks of random words"),
        ("synth ruler", "pipeline.cli.synth", "SynthRuler", "write RULER's prompts with their answers"),
    ),
    **_group(
        "Understand the result",
        ("list", "pipeline.cli.listing", "List", "list items with job and reason, as a table or JSON lines"),
        ("explain", "pipeline.cli.reports", "Explain", "show every measure of one item and every decision about it"),
        ("report", "pipeline.cli.reports", "Report", "write an HTML report of a workspace"),
    ),
    **_group(
        "Work with a packed dataset",
        ("inspect", "pipeline.cli.dataset.checks", "Inspect", "show what a dataset contains"),
        ("verify", "pipeline.cli.dataset.checks", "Verify", "check every hash, count, token id and span"),
        ("trace", "pipeline.cli.dataset.trace", "Trace", "show the source of a token, and its sentence or frame"),
    ),
    **_group(
        "Remove data",
        (
            "takedown",
            "pipeline.cli.takedown",
            "Takedown",
            "remove items from a workspace and all its datasets for ever",
        ),
    ),
    **_group(
        "Train a model",
        ("train", "trainer.commands", "Train", "train a model on packed datasets, with ring attention"),
        (
            "train-curriculum",
            "pipeline.cli.curriculum.command",
            "TrainCurriculum",
            "pack and train all stages of a curriculum, one after the other",
        ),
        (
            "import-model",
            "trainer.published.commands",
            "ImportModel",
            "convert a published language model (safetensors, GGUF, torch, LWM) to a checkpoint",
        ),
        (
            "export-model",
            "trainer.published.commands",
            "ExportModel",
            "write a run for transformers, vLLM and llama.cpp, or for LWM's code",
        ),
        (
            "plan-training",
            "trainer.planning.command",
            "PlanTraining",
            "estimate memory, operations and time of a training without running it",
        ),
        ("chat", "pipeline.cli.chat", "Chat", "talk with a trained model, also about pictures, videos and books"),
        (
            "serve",
            "pipeline.cli.serve",
            "Serve",
            "answer clients of OpenAI's interface with a trained model; a chat page",
        ),
        ("generate", "pipeline.cli.generate", "Generate", "continue a video or a text, or show a description"),
    ),
    **_group(
        "Evaluate a model",
        ("eval loss", "trainer.commands", "EvalLoss", "measure the loss of a trained model on packed datasets"),
        (
            "eval needle",
            "pipeline.cli.evaluation",
            "EvalNeedle",
            "ask for facts hidden in a long text (LWM's protocol)",
        ),
        ("eval ruler", "pipeline.cli.evaluation", "EvalRuler", "measure RULER's eleven synthetic tasks"),
        ("eval visual-needle", "pipeline.cli.evaluation", "EvalVisualNeedle", "ask for a picture hidden in a video"),
        ("eval longbench", "pipeline.cli.evaluation", "EvalLongBench", "ask LongBench's questions, from its files"),
        ("eval loft", "pipeline.cli.evaluation", "EvalLoft", "ask LOFT's questions, from its folders"),
        ("eval mvbench", "pipeline.cli.evaluation", "EvalMvbench", "ask MVBench's questions, from its files"),
        ("eval video-mme", "pipeline.cli.evaluation", "EvalVideoMme", "ask Video-MME's questions, from its file"),
        (
            "eval videos",
            "pipeline.tokenizer_jobs.compare_videos",
            "EvalVideos",
            "measure how far generated videos are from real ones, and what the tokenizer alone loses",
        ),
        (
            "compare",
            "pipeline.evaluation.compare",
            "Compare",
            "compare training runs, or two evaluations sample by sample",
        ),
    ),
    **_group(
        "Train a tokenizer",
        (
            "train-text-tokenizer",
            "pipeline.cli.tokenizers",
            "TrainTextTokenizer",
            "train a SentencePiece model on books and questions",
        ),
        ("train-tokenizer", "pipeline.tokenizer_jobs.train", "TrainTokenizer", "train a VQGAN on videos and images"),
        (
            "eval-tokenizer",
            "pipeline.tokenizer_jobs.evaluate",
            "EvalTokenizer",
            "measure how well a VQGAN reconstructs videos, compared with JPEG and WebP",
        ),
        (
            "import-tokenizer",
            "pipeline.cli.tokenizers",
            "ImportTokenizer",
            "convert the published weights of a VQGAN",
        ),
        (
            "perceptual",
            "pipeline.cli.tokenizers",
            "Perceptual",
            "download the weights of the perceptual loss of train-tokenizer",
        ),
    ),
    **_group(
        "Set up",
        ("config", "pipeline.cli.config", "Config", "print the effective configuration of a command as TOML"),
        ("completion", "pipeline.cli.completion", "Completion", "print a script that completes commands and options"),
        ("samples", "pipeline.cli.samples", "Samples", "download sample videos and books"),
    ),
}


def split_name(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Split the arguments of `longreel` into the name of a subcommand, of one or two words, and the rest.

    `train --curriculum FILE` is the subcommand `train-curriculum`.
    """
    if arguments[0] == "train" and any(word.partition("=")[0] == "--curriculum" for word in arguments):
        return "train-curriculum", list(arguments[1:])
    two = " ".join(arguments[:2])
    return (two, list(arguments[2:])) if two in SUBCOMMANDS else (arguments[0], list(arguments[1:]))


def unknown_subcommand(name: str) -> str:
    """Return the message for a name that is no subcommand, with the nearest one."""
    if seconds := [known.split()[1] for known in SUBCOMMANDS if known.startswith(f"{name} ")]:
        return f"{name} needs one of {', '.join(seconds)}, for example: longreel {name} {seconds[0]} --help"
    near = difflib.get_close_matches(name, SUBCOMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`longreel --help` lists the subcommands"
    return f"unknown subcommand {name!r}; {hint}"
