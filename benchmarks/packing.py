"""Measures how full packed sequences are, how planning grows with the documents, and how fast shards are assembled.

    python benchmarks/packing.py [--smoke] [--parts fill] [--samples DIR] [--growth 10000000] [--out packing.json]

Each figure is measured in its own process, so that its peak memory is its own. Planning times are CPU seconds, as one
worker would take. The parts:

    fill      Generated corpora (`packing_parts/corpora.py`) and, with `--samples`, real books and clips, at five
              contexts. `bound` is a fill that no packing can exceed. `sentences`: books are cut at sentence ends, as by
              default; the other columns are without. `longer` counts documents that must be cut, `cut` those that are,
              `cut, concat` those that are cut if all documents are concatenated and split into contexts. `Grain` is the
              fill of its FirstFitPackIterDataset on the same documents in random order (as many as `grain_tokens`
              allows), those longer than the context cut first, with `bins` open sequences.
    growth    Length histogram, plan and assignment of mixed documents in units of 10^4, generated when they are needed
              and then discarded. `worker` is the time of all workers together without generating the documents.
    assembly  A shard from a token store of generated documents, compared with `cp` of its bytes, their SHA-256 (which
              a shard needs), and webdataset's TarWriter writing the same samples from memory. `limit`: `cp` and SHA-256
              one after the other, which is the least that one core needs.
    beam      The whole job on Beam's local runner with one worker, compared with the same functions without Beam.

`--samples DIR` fetches the sample material into DIR and tokenizes it there the first time, in some minutes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from packing_parts.apart import use_one_process


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure packing."""

    parts: tuple[Literal["fill", "growth", "assembly", "beam"], ...] = ("fill", "growth", "assembly", "beam")
    smoke: bool = False  # small inputs and one context per part, all in one process
    samples: Path | None = None  # the folder of the tokenized sample material; created if it does not exist
    corpora: tuple[str, ...] = ("clips", "web", "web whole", "mixed", "real", "real x1000")
    contexts: tuple[int, ...] = (4096, 8192, 32768, 131072, 1048576)  # in `fill`
    documents: int = 50_000  # per generated corpus, in `fill`
    grain_tokens: int = 100_000_000
    growth: int = 1_000_000  # the largest number of documents, from 10^4 in factors of ten
    growth_context: int = 32768
    store_bytes: int = 300_000_000  # of tokens, in `assembly`
    repeat: int = 3
    beam_documents: int = 200_000
    scratch: Path | None = None  # where stores and shards are written; default: the system's temporary folder
    out: Path | None = None  # write the figures to this JSON file

    def __post_init__(self) -> None:
        if self.smoke:
            small = {"documents": 300, "grain_tokens": 200_000, "growth": 10_000, "store_bytes": 4_000_000}
            for name, most in (small | {"repeat": 1, "beam_documents": 1000}).items():
                object.__setattr__(self, name, min(most, getattr(self, name)))
            object.__setattr__(self, "corpora", ("mixed",))
            object.__setattr__(self, "contexts", (4096,))


def measure(part: str, options: Options) -> Any:
    """Run one part. A part is imported when it runs, so that the processes it starts do not import the others."""
    match part:
        case "fill":
            from packing_parts.fill import fill, select_corpora

            corpora = select_corpora(options.corpora, options.documents, options.samples)
            return fill(corpora, options.contexts, options.grain_tokens)
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
    if options.smoke:
        use_one_process()
    figures = {part: measure(part, options) for part in options.parts}
    if options.out:
        options.out.write_text(json.dumps({"cores": os.cpu_count(), **figures}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
