"""How full sequences become, how near that is to the best that could be, and how long planning takes.

    python benchmarks/packing.py [--documents 50000] [--contexts 4096 32768 262144 1048576] [--out packing.json]

`plan` is `pipeline.packing.plan`, everything included: sorting, hashing, packing, cutting, weights. `first fit` is what
a loader does that packs as it goes: documents in random order, those longer than the context cut first (videos between
frames, books anywhere), each into the first of a window of 1,000 open sequences that takes it; when none does, the
whole window is given out (Grain's FirstFitPackIterDataset). `bound` is a fill that no packing can exceed.

Frames are 256 codes and <eof>. The mixes:

    clips      videos of 1..30 frames, no caption
    shots      videos of 9..12 frames: few lengths make up a sequence
    captioned  videos of 1..100 frames, mostly short, captions of 5..59 tokens
    books      log-normal lengths, median 60,000 tokens
    mixed      captioned videos, and books for a tenth of the tokens
    long       mixed, and videos of 10 to 100 minutes at 4 frames a second for half of the tokens
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tyro
from numpy.typing import NDArray

from pipeline.packing import PackConfig, plan
from schemas.records import SPAN, TOKENS
from schemas.vocab import TEXT, VISION, Vocabulary

FRAME = 257
VOCABULARY = Vocabulary(
    text_size=32000,
    codebook_size=8192,
    bos_id=1,
    eos_id=2,
    begin_vision=(3,),
    end_vision=(4,),
    text_sha256="0" * 64,
    vision_sha256="0" * 64,
)
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Options:
    """Measure packing."""

    documents: int = 50_000
    contexts: tuple[int, ...] = (4096, 32768, 262144, 1048576)
    window: int = 1000
    out: Path | None = None  # where the figures go as JSON


def videos(frames: Integers, captions: Integers) -> pa.Table:
    """Return rows of documents `bos caption <vision> frames </vision> eos`."""
    lengths = np.stack([captions + 2, frames * FRAME, np.full_like(frames, 2)], axis=1)
    return rows("video", lengths, np.tile(np.array([TEXT, VISION, TEXT], np.int8), len(frames)))


def books(lengths: Integers) -> pa.Table:
    return rows("book", lengths[:, None], np.full(len(lengths), TEXT, np.int8))


def rows(kind: str, spans: Integers, modality: NDArray[np.int8]) -> pa.Table:
    """Return index rows for documents of `spans` [D, M] tokens."""
    count, width = spans.shape
    ends = np.cumsum(spans, axis=1)
    nothing = pa.nulls(spans.size, pa.float64())
    flat = pa.StructArray.from_arrays(
        [pa.array((ends - spans).reshape(-1)), pa.array(spans.reshape(-1)), pa.array(modality), nothing, nothing],
        fields=list(SPAN),
    )
    offsets = np.arange(count + 1, dtype=np.int32) * width
    names = pa.array([f"{kind}-{i * 2654435761 % 2**32:08x}-{i}" for i in range(count)])
    known: dict[str, Any] = {
        "document_id": names,
        "uri": names,
        "length": pa.array(ends[:, -1]),
        "frame_tokens": pa.array(np.full(count, FRAME if kind == "video" else 0, np.int32)),
        "spans": pa.ListArray.from_arrays(offsets, flat),
    }
    known |= {
        name: pa.array([value] * count) for name, value in (("kind", kind), ("split", "train"), ("fingerprint", ""))
    }
    known |= {name: pa.array(np.zeros(count), TOKENS.field(name).type) for name in ("unit", "batch", "row", "frames")}
    known["frames_promised"] = known["frames"]
    return pa.table([known.get(f.name, pa.nulls(count, f.type)) for f in TOKENS], schema=TOKENS)


def mixes(count: int) -> dict[str, Callable[[], pa.Table]]:
    rng = np.random.default_rng(0)

    def some_books(tokens: int) -> pa.Table:
        lengths = np.exp(rng.normal(11, 1, max(1, tokens // 90_000))).astype(np.int64) + 2
        return books(lengths)

    def captioned() -> pa.Table:
        return videos(np.minimum(rng.geometric(0.08, count), 100), rng.integers(5, 60, count))

    def mixed() -> pa.Table:
        clips = captioned()
        return pa.concat_tables([clips, some_books(int(np.sum(clips["length"].to_numpy())) // 9)])

    def long() -> pa.Table:
        base = mixed()
        films = max(1, int(np.sum(base["length"].to_numpy())) // (55 * 60 * 4 * FRAME))
        return pa.concat_tables([base, videos(rng.integers(2400, 24000, films), np.full(films, 20))]).combine_chunks()

    def renamed(make: Callable[[], pa.Table]) -> Callable[[], pa.Table]:
        def build() -> pa.Table:
            table = make()
            names = pa.array([f"{i * 2654435761 % 2**32:08x}-{i}" for i in range(len(table))])
            return table.set_column(0, TOKENS.field(0), names)

        return build

    makers = {
        "clips": lambda: videos(rng.integers(1, 31, count), np.full(count, 0)),
        "shots": lambda: videos(rng.integers(9, 13, count), np.full(count, 0)),
        "captioned": captioned,
        "books": lambda: some_books(count * 3000),
        "mixed": mixed,
        "long": long,
    }
    return {name: renamed(make) for name, make in makers.items()}


def first_fit(table: pa.Table, context: int, window: int) -> int:
    """Return how many sequences first fit makes of documents in random order, with `window` of them open."""
    order = np.random.default_rng(0).permutation(len(table))
    lengths = table["length"].to_numpy()[order].astype(np.int64)
    is_video = np.asarray(table["kind"])[order] == "video"
    most = np.where(is_video & (lengths > context), context // FRAME * FRAME, context)
    counts = -(-lengths // most)
    pieces = np.repeat(most, counts)
    pieces[np.cumsum(counts) - 1] = lengths - (counts - 1) * most
    closed, free = 0, np.full(window, context)
    for piece in pieces.tolist():
        at = int(np.argmax(free >= piece))
        if free[at] < piece:
            closed += int((free < context).sum())
            free[:], at = context, 0
        free[at] -= piece
    return closed + int((free < context).sum())


def measure(table: pa.Table, context: int, window: int) -> dict[str, float]:
    started = time.perf_counter()
    made = plan(table, PackConfig(), context_length=context, vocabulary=VOCABULARY)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    others = first_fit(table, context, window)
    part = made.splits["train"]
    return {
        "documents": len(table),
        "tokens": part.tokens,
        "sequences": part.sequences,
        "fill": made.fill("train"),
        "bound": made.best_fill("train"),
        "of_bound": part.fewest / part.sequences,
        "plan_s": seconds,
        "first_fit": part.tokens / (others * context),
        "first_fit_s": time.perf_counter() - started,
    }


def main(options: Options) -> None:
    print(f"{'mix':<10}{'context':>9}{'documents':>11}{'sequences':>11}{'fill':>10}{'bound':>10}{'of bound':>10}"
          f"{'plan':>9}{'first fit':>11}")  # fmt: skip
    results = []
    for name, make in mixes(options.documents).items():
        table = make()
        for context in options.contexts:
            row = measure(table, context, options.window)
            results.append({"mix": name, "context": context, **row})
            print(f"{name:<10}{context:>9,}{row['documents']:>11,}{row['sequences']:>11,}{row['fill']:>10.4%}"
                  f"{row['bound']:>10.4%}{row['of_bound']:>10.4%}{row['plan_s']:>7.1f} s{row['first_fit']:>11.2%}",
                  flush=True)  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps({"window": options.window, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
