"""The one command: `longreel SUBCOMMAND …`, a table from names to the packages.

A subcommand is a dataclass whose fields are its options (tyro makes the command line from it), and a function that
takes it. Only the chosen subcommand's package is imported. Options for Beam come after `--`.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from schemas.errors import ConfigError, Interrupted, LongreelError

if TYPE_CHECKING:
    from schemas.vocab import Vocabulary
    from trainer.model.transformer import Transformer

WITH_BEAM = ("run", "survey", "select", "tokenize", "pack")  # the only ones that take options after `--`
# name: (module, the dataclass, what it does)
SUBCOMMANDS = {
    "run": ("pipeline.cli.jobs", "Run", "all jobs: survey, select, tokenize, pack"),
    "survey": ("pipeline.cli.jobs", "Survey", "look at every item once, cheaply"),
    "select": ("pipeline.cli.jobs", "Select", "set aside what is unusable or there twice; choose the splits"),
    "tokenize": ("pipeline.cli.jobs", "Tokenize", "decode and encode what was selected, once"),
    "pack": ("pipeline.cli.jobs", "Pack", "pack stored tokens into sequences: shards, index, ledger, card"),
    "explain": ("pipeline.reports.explain", "Explain", "show every number and every decision about one item"),
    "report": (
        "pipeline.reports.page",
        "Report",
        "write a page: the funnel, histograms with limits, thumbnails, books, licenses",
    ),
    "verify": ("pipeline.cli.datasets", "Verify", "check every hash, count, id, span and ledger row of a dataset"),
    "inspect": ("pipeline.dataset.inspect", "Inspect", "show how much a dataset holds of what, and how full it is"),
    "trace": ("pipeline.dataset.trace.trace", "Trace", "say where a token came from, and show its sentence or frame"),
    "forget": (
        "pipeline.dataset.forget.forget",
        "Forget",
        "take documents out of a dataset, and leave all else as it is",
    ),
    "train": ("trainer.commands", "Train", "train a model on packed datasets, with ring attention"),
    "generate": ("longreel", "Generate", "let a model go on with a stored video or a text"),
    "train-text-tokenizer": (
        "pipeline.cli.text_tokenizer",
        "TrainTextTokenizer",
        "train a SentencePiece model on books and questions",
    ),
    "train-tokenizer": ("pipeline.tokenizer_jobs.train", "TrainTokenizer", "train a VQGAN on videos"),
    "eval-tokenizer": (
        "pipeline.tokenizer_jobs.evaluate",
        "EvalTokenizer",
        "say what a VQGAN makes of videos that it was not trained on, beside JPEG and WebP",
    ),
    "perceptual": (
        "pipeline.tokenizer_jobs.perceptual_weights",
        "Perceptual",
        "fetch the weights of train-tokenizer's perceptual distance",
    ),
    "import-tokenizer": (
        "pipeline.tokenizer_jobs.import_weights",
        "ImportTokenizer",
        "read a VQGAN's published weights, and write them as .safetensors",
    ),
    "samples": ("pipeline.cli.samples", "Samples", "fetch sample videos and books"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status: 0 done, 1 an error that is told, 2 bad usage, 130 stopped."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        _help()
        return 0 if given else 2
    name, *rest = given
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    if name not in SUBCOMMANDS:
        errors.print(f"longreel: no subcommand {name!r}; known are {', '.join(SUBCOMMANDS)}", markup=False)
        return 2
    options: tuple[str, ...] = ()
    if "--" in rest:
        at = rest.index("--")
        rest, options = rest[:at], tuple(rest[at + 1 :])
    if options and name not in WITH_BEAM:
        errors.print(f"longreel {name}: takes no Beam options, got {' '.join(options)!r} after --", markup=False)
        return 2
    try:
        _run(name, rest, options)
    except Interrupted as e:
        errors.print(f"longreel {name}: {e}", markup=False)
        return 130
    except (LongreelError, OSError) as e:  # OSError: a folder that cannot be listed, a file in a folder's place
        errors.print(f"longreel {name}: {e}", markup=False)
        return 1
    except KeyboardInterrupt:
        errors.print(f"longreel {name}: stopped; what was made is kept")
        return 130
    return 0


def _run(name: str, rest: list[str], options: tuple[str, ...]) -> None:
    module_name, class_name, _ = SUBCOMMANDS[name]
    package = module_name.split(".")[0]
    for library in ("absl", "apache_beam", "jax", "orbax"):
        logging.getLogger(library).setLevel(logging.ERROR)
    logging.disable(logging.WARNING)  # while importing: Beam warns of client libraries that nobody asked for
    try:
        command_class = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as e:
        extra = "trainer" if package == "trainer" else "pipeline"
        raise ConfigError(f"needs the module {e.name!r}: pip install 'longreel[{extra}]'") from e
    finally:
        logging.disable(logging.NOTSET)
    import tyro

    command = tyro.cli(command_class, prog=f"longreel {name}", args=rest)
    command(options)


def _help() -> None:
    console = Console(highlight=False)
    console.print("longreel SUBCOMMAND [options] [-- Beam options]\n", markup=False)
    console.print("Turns videos and books into million-token training data, and trains a model on it.\n")
    table = Table.grid(padding=(0, 2))
    for name, (_, _, what) in SUBCOMMANDS.items():
        table.add_row(f"  {name}", what)
    console.print(table)
    console.print("\nlongreel SUBCOMMAND --help shows its options.")


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Let a trained model go on: with the first frames of a stored video (a picture is written), or with a text.

    The only place where pipeline and trainer meet: the trainer knows ids alone.
    """

    model: Path
    """The output folder of `longreel train`."""
    data: Path
    """The workspace whose tokens and tokenizers the model was trained on."""
    out: Path | None = None
    """Where the picture goes; needed for a video."""
    video: str | None = None
    """Part of a stored video's address. By default a held-out one."""
    text: str | None = None
    """Go on with this text instead of a video."""
    prompt_frames: int = 8
    """Frames of the video that the model is given."""
    frames: int = 8
    """Frames that it makes."""
    steps: int = 200
    """Ids that it makes when it goes on with a text."""
    temperature: float = 1.0
    """Below 1: likelier ids come more often; above 1: more of a surprise."""
    top_k: int = 100
    """Draw among this many likeliest ids; 0: all."""
    seed: int = 0
    """Of the draw."""
    vision: str = "small-128"
    """The VQGAN that the tokens were made with."""

    def __post_init__(self) -> None:
        for field in ("prompt_frames", "frames", "steps"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, got {getattr(self, field)}")

    def __call__(self, options: tuple[str, ...]) -> None:
        """Load the model, generate, and show what came."""
        import jax

        from pipeline.runtime.token_store import StoreFacts
        from pipeline.runtime.workspace import Workspace
        from trainer.config import MeshConfig
        from trainer.mesh import make_mesh
        from trainer.run.state import load_model

        workspace = Workspace.existing(self.data)
        facts = StoreFacts.read(workspace.tokens)
        model, description = load_model(self.model, mesh=make_mesh(MeshConfig(), devices=jax.local_devices()[:1]))
        facts.vocabulary.require_same(description.vocabulary, ours=str(self.data), theirs=str(self.model))
        if self.text is not None:
            self._go_on_with_text(model, facts.vocabulary, workspace.text_model)
        elif self.out is not None:
            self._go_on_with_video(model, facts, workspace)
        else:
            raise ConfigError("say where the picture goes (--out picture.png), or give a text (--text ...)")

    def _sample(self, model: Transformer, prompt: NDArray[Any], steps: int, grammar: Any) -> NDArray[Any]:
        import jax.numpy as jnp

        from trainer.model.generate import generate

        made = generate(
            model,
            jnp.asarray(prompt, jnp.int32)[None],
            steps=steps,
            seed=self.seed,
            temperature=self.temperature,
            top_k=self.top_k,
            grammar=grammar,
        )
        return np.asarray(made)[0]

    def _go_on_with_text(self, model: Transformer, vocabulary: Vocabulary, path: Path) -> None:
        from tokenizer.text.sentencepiece import TextTokenizer
        from trainer.model.grammar import DocumentGrammar

        text = TextTokenizer.load(path)
        if text.sha256 != vocabulary.text_sha256:
            raise ConfigError(f"{path} is not what the tokens were made with; run `longreel tokenize` to its end")
        prompt = np.concatenate([[vocabulary.bos_id], text.encode(self.text or "")])
        grammar = DocumentGrammar(vocabulary=vocabulary, frame_tokens=1, max_frames=0)
        made = self._sample(model, prompt, self.steps, grammar)
        print((self.text or "") + text.decode(made[made != vocabulary.eos_id]))

    def _go_on_with_video(self, model: Transformer, facts: Any, workspace: Any) -> None:
        from pipeline.reports.reconstruction import codes_of, find_video, prompt_of, source_frames, write_rows
        from pipeline.video.decoder import DecodeConfig
        from tokenizer.codec import FrameCodec
        from trainer.model.grammar import DocumentGrammar

        vocabulary, per_frame = facts.vocabulary, facts.frame_grid[0] * facts.frame_grid[1]
        codec = FrameCodec.load(self.vision)
        if codec.sha256 != vocabulary.vision_sha256:
            raise ConfigError(f"the tokens were not made with the VQGAN {self.vision!r}; say which with --vision")
        stored = find_video(workspace, self.video)
        prompt = prompt_of(stored, self.prompt_frames)
        grammar = DocumentGrammar(
            vocabulary=vocabulary, frame_tokens=per_frame, max_frames=self.frames, min_frames=self.frames
        )
        # The prompt ends behind a frame's <eof>; each new frame is its codes and one id that ends it.
        made = self._sample(model, prompt, self.frames * (per_frame + 1), grammar)
        made_codes = made[(made >= vocabulary.text_size) & (made < vocabulary.eof)] - vocabulary.text_size
        shown = self.prompt_frames + self.frames
        given = codes_of(stored, vocabulary)
        continued = np.concatenate([given[: self.prompt_frames], made_codes.reshape(-1, per_frame)])
        rows = {
            f"source: {Path(stored.row['uri']).name}": source_frames(
                stored, DecodeConfig(size=facts.frame_size, fps=facts.frame_rate), shown
            ),
            "rebuilt from the stored tokens": codec.decode(given[:shown]),
            f"{self.prompt_frames} frames given, then the model's continuation": codec.decode(continued),
        }
        assert self.out is not None
        write_rows(self.out, rows, columns=shown)
        print(f"generate: {self.out}: source, rebuilt, continued", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
