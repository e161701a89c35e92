"""Claims: sequences are full, planning grows with the documents and no faster, assembly is faster than webdataset's.

    python benchmarks/packing.py [--quick] [--workspace DIR] [--growth 10000000] [--out packing.json]

Each figure is measured in a process of its own, so that the peak of memory is its own. Plan times are processor
seconds, as one worker would take them. The parts:

    fill      Made-up corpora (`packing_parts/corpora.py`) and real books and clips, at five contexts. `bound` is a fill
              that no packing can exceed. `reach`: with cuts moved to the ends of sentences, as by default; the rest is
              without. `longer` counts documents that must be cut, `cut` those that are, `cut, concat` those that are if
              all are put one after the other and cut into contexts, which fills all but the last. `Grain` is the fill
              of its FirstFitPackIterDataset on the same documents in random order (as many as `grain_tokens` allows),
              those longer than the context cut first, with so many `bins` open.
    growth    Census, plan with ranks, assignment of mixed documents in units of 10^4, which are made when they are
              needed and thrown away. `worker` is what all workers together take, making the documents not counted.
    assembly  A shard from a token store of made-up documents, beside `cp` of its bytes, SHA-256 of them (which a shard
              needs), and webdataset's TarWriter writing the same samples from memory.
    beam      The whole job on Beam's local runner with one worker, beside the same without Beam.

`--workspace` is a folder where the sample material is fetched and tokenized the first time (some minutes); without it
the real corpus is left out.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure packing."""

    parts: tuple[Literal["fill", "growth", "assembly", "beam"], ...] = ("fill", "growth", "assembly", "beam")
    quick: bool = False  # all of it small: about a minute
    workspace: Path | None = None  # where the sample material lies, or is to be put
    corpora: tuple[str, ...] = ("clips", "web", "web whole", "mixed", "real", "real x1000")
    documents: int = 50_000  # of each made-up corpus, in `fill`
    grain_tokens: int = 100_000_000
    growth: int = 1_000_000  # the most documents, from 10^4 in steps of ten
    growth_context: int = 32768
    store_bytes: int = 300_000_000  # of tokens, in `assembly`
    repeat: int = 3
    beam_documents: int = 200_000
    scratch: Path | None = None  # where stores and shards are written; default: the system's folder for such
    out: Path | None = None  # where the figures go as JSON

    def __post_init__(self) -> None:
        if self.quick:
            small = {"documents": 2000, "grain_tokens": 2_000_000, "growth": 10_000, "store_bytes": 30_000_000}
            for name, most in (small | {"repeat": 1, "beam_documents": 5000}).items():
                object.__setattr__(self, name, min(most, getattr(self, name)))


def measure(part: str, options: Options) -> Any:
    """Run one part. Each is loaded when it runs: the processes that it starts load this file, and no other part."""
    match part:
        case "fill":
            from packing_parts.fill import fill

            return fill(options.workspace, options.corpora, options.documents, options.grain_tokens)
        case "growth":
            from packing_parts.growth import growth

            return growth(options.growth, options.growth_context, options.scratch)
        case "assembly":
            from packing_parts.assembly import assembly

            return assembly(options.store_bytes, options.repeat, options.scratch)
        case "beam":
            from packing_parts.job import beam

            return beam(options.beam_documents, options.scratch)


def main(options: Options) -> None:
    figures = {part: measure(part, options) for part in options.parts}
    if options.out:
        options.out.write_text(json.dumps({"cores": os.cpu_count(), **figures}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
