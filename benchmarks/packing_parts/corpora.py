"""The corpora that `packing.py` packs: index rows of documents with generated lengths. As a script, describes them.

    clips      videos of 1..30 frames, no caption: 257 k + 2 tokens
    web        log-normal lengths, median 665 tokens, a tenth above 3,700: books, which can be cut anywhere
    web whole  the same as question-answer documents: never cut, and rejected if longer than the context
    mixed      captioned clips of 1..100 frames, mostly short; books (log-normal, median 60,000 tokens) for a tenth of
               the tokens; films of 10 to 100 minutes at 4 frames a second for half of all tokens

A frame is 256 codes and <eof>. Documents are `bos caption <vision> frames </vision> eos`, like those of real files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.support.vocabulary import vocabulary
from schemas.records import SPAN, TOKENS
from schemas.vocab import TEXT, VISION

FRAME = 257
VOCABULARY = vocabulary(text_size=32000, codebook_size=8192)
Integers = NDArray[np.int64]
Rng = np.random.Generator


def videos(rng: Rng, frames: Integers, captions: Integers) -> pa.Table:
    """Return rows of videos of `frames` [D] frames; captions include `bos` and `<vision>`."""
    spans = np.stack([captions + 1, frames * FRAME, np.ones_like(frames)], axis=1)
    return rows(rng, "video", spans, np.array([TEXT, VISION, TEXT], np.int8))


def texts(rng: Rng, kind: str, lengths: Integers) -> pa.Table:
    return rows(rng, kind, lengths[:, None], np.array([TEXT], np.int8))


def rows(rng: Rng, kind: str, spans: Integers, modality: NDArray[np.int8]) -> pa.Table:
    """Return index rows of documents whose spans are `spans` [D, M] tokens long; their ids are random."""
    count, width = spans.shape
    ends = np.cumsum(spans, axis=1)
    flat = pa.StructArray.from_arrays(
        [
            pa.array((ends - spans).reshape(-1)),
            pa.array(spans.reshape(-1)),
            pa.array(np.tile(modality, count)),
            pa.nulls(spans.size, pa.float64()),
            pa.nulls(spans.size, pa.float64()),
            pa.array(np.ones(spans.size, np.float32)),
        ],
        fields=list(SPAN),
    )
    drawn = rng.bytes(64 * count).hex()  # two SHA-256 per document
    hashes = pa.array([drawn[i : i + 64] for i in range(0, 128 * count, 64)])
    known: dict[str, Any] = {
        "document_id": hashes[:count],
        "fingerprint": hashes[count:],
        "uri": pc.binary_join_element_wise(kind, pc.utf8_slice_codeunits(hashes[:count], 0, 16), "/"),
        "length": pa.array(ends[:, -1]),
        "frame_tokens": pa.array(np.full(count, FRAME if kind == "video" else 0, np.int32)),
        "spans": pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * width, flat),
        "kind": pa.repeat(kind, count),
        "split": pa.repeat("train", count),
    }
    zeros = ("cues", "cues_outside", "unit", "batch", "row", "frames", "frames_promised")
    known |= {name: pa.array(np.zeros(count), TOKENS.field(name).type) for name in zeros}
    return pa.table([known.get(f.name, pa.nulls(count, f.type)) for f in TOKENS], schema=TOKENS)


def clips(rng: Rng, count: int) -> pa.Table:
    return videos(rng, rng.integers(1, 31, count), np.zeros(count, np.int64))


def web(rng: Rng, count: int, kind: str = "book") -> pa.Table:
    return texts(rng, kind, np.exp(rng.normal(6.5, 1.35, count)).astype(np.int64) + 2)


def mixed(rng: Rng, count: int) -> pa.Table:
    """The film and book counts follow from the clips' tokens; a unit of few clips has one of each."""
    short = videos(rng, np.minimum(rng.geometric(0.08, count), 100), rng.integers(5, 60, count))
    tokens = int(np.sum(short["length"].to_numpy()))
    films = rng.integers(2400, 24000, max(1, tokens * 10 // 8 // (13200 * FRAME)))
    books = np.exp(rng.normal(11, 1, max(1, tokens // 4 // 98_000))).astype(np.int64) + 2
    some = [short, videos(rng, films, np.full(len(films), 20)), texts(rng, "book", books)]
    return pa.concat_tables(some).combine_chunks()


CORPORA: dict[str, Callable[[Rng, int], pa.Table]] = {
    "clips": clips,
    "web": web,
    "web whole": lambda rng, count: web(rng, count, "qa"),
    "mixed": mixed,
}


def main() -> None:
    print(f"{'corpus':<12}{'documents':>11}{'tokens':>16}{'median':>10}{'longest':>12}{'texts':>8}")
    for name, make in CORPORA.items():
        table = make(np.random.default_rng(0), 20_000)
        lengths, text = table["length"].to_numpy(), np.asarray(table["kind"]) != "video"
        print(f"{name:<12}{len(table):>11,}{lengths.sum():>16,}{np.median(lengths):>10,.0f}{lengths.max():>12,}"
              f"{lengths[text].sum() / lengths.sum():>8.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
