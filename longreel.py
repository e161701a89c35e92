"""The one command: `longreel SUBCOMMAND …`, a table from names to the packages.

A subcommand is a dataclass whose fields are its options (tyro makes the command line from it), and a function that
takes it. Only the chosen subcommand's package is imported. Options for Beam come after `--`.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from schemas.errors import ConfigError, Interrupted, LongreelError

# name: (module, the dataclass, what it does)
SUBCOMMANDS = {
    "run": ("pipeline.commands", "Run", "all jobs: survey, select, tokenize, pack"),
    "survey": ("pipeline.commands", "Survey", "look at every video, image and book once, cheaply"),
    "select": ("pipeline.commands", "Select", "set aside what is unusable or there twice; choose the splits"),
    "tokenize": ("pipeline.commands", "Tokenize", "decode and encode what was selected, once"),
    "pack": ("pipeline.commands", "Pack", "pack stored tokens into sequences: shards, index, ledger, card"),
    "verify": ("pipeline.commands", "Verify", "check every hash, count, id, span and ledger row of a dataset"),
    "inspect": ("pipeline.inspect", "Inspect", "show what a sequence holds and where each token came from"),
    "train": ("trainer.commands", "Train", "train a model on packed datasets, with ring attention"),
    "generate": ("longreel_generate", "Generate", "let a model go on with a stored video or a text"),
    "train-text-tokenizer": ("pipeline.commands", "TrainTextTokenizer", "train a SentencePiece model on books"),
    "train-tokenizer": ("pipeline.train_tokenizer", "TrainTokenizer", "train a VQGAN on videos"),
    "samples": ("pipeline.commands", "Samples", "fetch sample videos and books"),
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
    logging.getLogger().setLevel(logging.ERROR)  # Beam and TensorBoard warn of what nobody asked for at import
    options: tuple[str, ...] = ()
    if "--" in rest:
        at = rest.index("--")
        rest, options = rest[:at], tuple(rest[at + 1 :])
    try:
        _run(name, rest, options)
    except Interrupted as e:
        errors.print(f"longreel {name}: {e}", markup=False)
        return 130
    except LongreelError as e:
        errors.print(f"longreel {name}: {e}", markup=False)
        return 1
    except KeyboardInterrupt:
        errors.print(f"longreel {name}: stopped")
        return 130
    return 0


def _run(name: str, rest: list[str], options: tuple[str, ...]) -> None:
    module_name, class_name, _ = SUBCOMMANDS[name]
    package = module_name.split(".")[0]
    try:
        command_class = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as e:
        extra = "trainer" if package == "trainer" else "pipeline"
        raise ConfigError(f"needs the module {e.name!r}: pip install 'longreel[{extra}]'") from e
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


if __name__ == "__main__":
    sys.exit(main())
