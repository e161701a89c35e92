"""Measures the speed of text tokenizers, compared with the libraries alone, and the memory for a large book.

    python benchmarks/text_tokenizers.py [--smoke] [--megabytes 4] [--book-megabytes 100] [--out text_tokenizers.json]
        [--tokenizers FILE_OR_FOLDER ...] [--text FILE]

Without --tokenizers, small tokenizers are trained on the text: a SentencePiece model, and a byte-level tokenizer.json.
Without --text, it is the source code of Python's standard library; it is repeated for the large book. Each row is the
best of three runs on one thread: MB of UTF-8 per second of processor time for `encode_stream` in chunks of 64 KiB, by
a tokenizer that was just loaded (`stream_mb_s`) and by one that has encoded the text before (`again_mb_s`); for the
library alone on the whole text; on chunks, whose ids differ at their ends; and in one call on the lines, which is the
limit of the library. `ratio` is that of `stream_mb_s` to the fastest of the library. `differ` counts the ids of
`encode_stream` that are not those of the library for the whole text. The memory is the growth of the peak of a process
that encodes the large book from a generator and keeps no ids.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import tokenizers
import tyro

from schemas.weight_files.tokenizer_files import JSON, MODEL
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    megabytes: float = 4.0
    """Size of the text whose encoding is timed."""
    book_megabytes: float = 100.0
    """Size of the book whose memory is measured; 0 leaves it out."""
    tokenizers: tuple[Path, ...] = ()
    """Text tokenizers, as for --text-tokenizer."""
    text: Path | None = None
    """Text file to encode instead of source code."""
    out: Path | None = None
    """JSON file to write."""
    smoke: bool = False
    """Use tiny inputs."""


def main(options: Options) -> None:
    if options.smoke:
        options = replace(options, megabytes=0.1, book_megabytes=0.5)
    size = int(options.megabytes * 1e6)
    text = options.text.read_text(encoding="utf-8")[:size] if options.text else source_text(size)
    with tempfile.TemporaryDirectory() as folder:
        paths = options.tokenizers or trained(Path(folder), text)
        rows = [measure(path, text, options.book_megabytes) for path in paths]
    print(json.dumps(rows, indent=1))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


def source_text(size: int) -> str:
    """Return `size` characters of the source code of Python's standard library."""
    parts: list[str] = []
    length = 0
    for path in sorted(Path(argparse.__file__).parent.glob("*.py")):
        parts.append(path.read_text(encoding="utf-8", errors="replace"))
        length += len(parts[-1])
        if length >= size:
            break
    return "".join(parts)[:size]


def trained(folder: Path, text: str) -> tuple[Path, ...]:
    """Train small tokenizers."""
    text = text + " <vision> </vision>"
    model = train_text_tokenizer([text], folder / "own.model", TextTrainConfig(vocab_size=8000))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=8000, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.save(str(folder / JSON))
    return model, folder / JSON


def measure(path: Path, text: str, book_megabytes: float) -> dict[str, Any]:
    started = time.process_time()
    ours = TextTokenizer.load(path)
    load_s = time.process_time() - started
    whole = library(ours)
    chunks = [text[i : i + CHUNK] for i in range(0, len(text), CHUNK)]
    size = len(text.encode()) / 1e6
    lines = text.splitlines(keepends=True)
    ids = np.concatenate(list(ours.encode_stream(chunks)))
    expected = np.array(whole([text])[0])
    fresh = min(seconds(TextTokenizer.load(path), chunks) for _ in range(3))
    alone = {
        "library_whole_mb_s": size / best(lambda: whole([text])),
        "library_chunks_mb_s": size / best(lambda: whole(chunks)),
        "library_lines_mb_s": size / best(lambda: whole(lines)),
    }
    row = {
        "tokenizer": path.name if path.name != JSON else f"{path.parent.name}/{JSON}",
        "ids": ours.size,
        "load_s": round(load_s, 2),
        "stream_mb_s": round(size / fresh, 2),
        "again_mb_s": round(size / best(lambda: list(ours.encode_stream(chunks))), 2),
        **{name: round(rate, 2) for name, rate in alone.items()},
        "ratio": round(size / fresh / max(alone.values()), 2),
        "differ": differing(ids, expected),
    }
    if book_megabytes:
        row["book_mb"] = book_megabytes
        row["peak_growth_mb"] = peak_growth(path, text, book_megabytes)
    return row


def library(ours: TextTokenizer) -> Callable[[list[str]], list[Any]]:
    """Return the function of the library that encodes texts to the ids of each, in one call and on one thread."""
    if ours.files.main_name == MODEL:
        processor = sentencepiece.SentencePieceProcessor(model_proto=ours.files.main)
        return lambda texts: processor.encode(texts, return_type="numpy", num_threads=1)
    tokenizer = tokenizers.Tokenizer.from_str(ours.files.main.decode())
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def differing(ids: np.ndarray, expected: np.ndarray) -> int:
    """Return how many ids are between the first and the last difference; 0 for equal ids."""
    if np.array_equal(ids, expected):
        return 0
    shortest = min(len(ids), len(expected))
    first = int(np.argmax(np.append(ids[:shortest] != expected[:shortest], True)))
    last = int(np.argmax(np.append(ids[::-1][:shortest] != expected[::-1][:shortest], True)))
    return max(len(ids) - first - last, 1)


def seconds(tokenizer: TextTokenizer, chunks: list[str]) -> float:
    """Return the processor time in which a tokenizer encodes the chunks."""
    started = time.process_time()
    for _ in tokenizer.encode_stream(chunks):
        pass
    return time.process_time() - started


def best(call: Callable[[], object]) -> float:
    """Return the least processor time of three calls."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return min(seconds)


def peak_growth(path: Path, text: str, megabytes: float) -> float:
    """Return by how many MB the peak memory of a new process grows when it encodes a book of this size."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_growth, (path, text[: 1 << 20], megabytes))


def _peak_growth(path: Path, text: str, megabytes: float) -> float:
    ours = TextTokenizer.load(path)
    for _ in ours.encode_stream([text]):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in ours.encode_stream(_book(text, int(megabytes * 1e6))):
        pass
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)


def _book(text: str, size: int) -> Iterator[str]:
    while size > 0:
        yield text[:size]
        size -= len(text)


if __name__ == "__main__":
    main(tyro.cli(Options))
