"""Trains a text tokenizer: a lossless SentencePiece model (BPE with byte fallback)."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

import sentencepiece

from schemas.deadline import checked, checkpoint
from schemas.errors import ConfigError, JobError
from schemas.files import atomic
from schemas.runs.interrupt import starting_child
from tokenizer.text.chunking import blocks
from tokenizer.text.model import BEGIN_VISION, END_VISION

_CHECK_S = 0.2
_SPACE = "\u2581"  # SentencePiece's visible space


@dataclass(frozen=True, kw_only=True)
class TextTrainConfig:
    """Options of the training of a text tokenizer."""

    vocab_size: int = 32_000
    """Maximum number of ids; a small corpus yields fewer."""
    character_coverage: float = 0.9995
    """Fraction of the corpus's characters that are covered by pieces; the others are encoded as bytes."""
    max_train_bytes: int = 128 << 20
    """Bytes of UTF-8 to train on; a larger corpus is sampled."""
    seed: int = 0
    """Random seed for sampling."""

    def __post_init__(self) -> None:
        if not 512 <= self.vocab_size <= 1_000_000:
            raise ConfigError(f"vocab_size must lie in 512..1,000,000, got {self.vocab_size}")
        if not 0.9 <= self.character_coverage <= 1:
            raise ConfigError(f"character_coverage must lie in 0.9..1, got {self.character_coverage}")
        if self.max_train_bytes < 1:
            raise ConfigError(f"max_train_bytes must be at least 1, got {self.max_train_bytes}")


def train_text_tokenizer(texts: Iterable[str], out: Path, config: TextTrainConfig) -> Path:
    """Train a lossless BPE model on `texts` and write it to `out` atomically; returns `out`.

    Ids: 0 <unk>, 1 bos, 2 eos, 3 `<vision>`, 4 `</vision>`, then 256 bytes, then pieces. The model has no normalization
    and inserts no space before the first word; it keeps runs of spaces and has one piece per digit. A few built-in
    sentences are always part of the corpus, so that even an empty one yields a usable model.

    The bytes of the model depend only on the set of texts, the configuration and the version of SentencePiece, not on
    the order of the texts or on the process. Memory: about six times `max_train_bytes`. Raises ConfigError if the
    texts contain more distinct characters than fit in `vocab_size`, and what `schemas.deadline.checkpoint` raises.
    """
    try:
        model = _in_child([_SEED_TEXT, *_sample(texts, config)], config)
    except RuntimeError as e:
        raise ConfigError(
            f"SentencePiece cannot train with vocab_size={config.vocab_size} and "
            f"character_coverage={config.character_coverage}: {e}. Increase vocab_size or decrease character_coverage"
        ) from e
    with atomic(out) as temporary:
        temporary.write_bytes(model)
    return out


def _in_child(corpus: list[str], config: TextTrainConfig) -> bytes:
    """Return the model that a child process trains: SentencePiece takes minutes, in which it cannot be interrupted.

    Raises RuntimeError as SentencePiece does, and JobError if the child was killed. The corpus is not an argument of
    the child: `start` waits for ever for one that ends before it has read its arguments.
    """
    context = multiprocessing.get_context("spawn")
    connection, of_child = context.Pipe()
    child = context.Process(target=_child, args=(of_child, config), daemon=True)
    resource_tracker.ensure_running()  # which `start` would do, and unblock the signal that `starting_child` blocks
    with starting_child():
        child.start()
    of_child.close()
    try:
        for block in corpus:
            connection.send(block)
            checkpoint()
        connection.send(None)
        while not connection.poll(_CHECK_S):
            checkpoint()
        found = connection.recv()
    except (EOFError, ConnectionError) as e:
        child.join()
        raise JobError(
            f"the process that trains the text tokenizer ended with exit code {child.exitcode}; it may have been "
            "killed for lack of memory: decrease max-train-bytes"
        ) from e
    finally:
        child.kill()
        child.join()
    if isinstance(found, RuntimeError):
        raise found
    return bytes(found)


def _child(connection: Connection, config: TextTrainConfig) -> None:
    """Receive the corpus, then send the model, or the RuntimeError of SentencePiece."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    corpus = list(iter(connection.recv, None))
    lines = (line for block in corpus for line in _LINE_ENDS.split(block) if line)
    try:
        connection.send(_trained(lines, config))
    except RuntimeError as e:
        connection.send(RuntimeError(str(e)))


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _trained(lines: Iterator[str], config: TextTrainConfig) -> bytes:
    """Return the model that SentencePiece trains."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="bpe",
        vocab_size=config.vocab_size,
        hard_vocab_limit=False,
        character_coverage=config.character_coverage,
        required_chars=_SPACE,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        user_defined_symbols=[BEGIN_VISION, END_VISION],
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,  # stored in the model
        minloglevel=2,
    )
    return model.getvalue()


_SEED_TEXT = (
    "A film is a row of pictures, and a book is a row of words.\n"
    "The camera waits at the door; somebody walks in, looks around and says: what happened here?\n"
    "At 7:45 the rain had stopped. Two children ran down to the river (it was still high) and threw stones.\n"
)
# SentencePiece skips lines that contain U+2585, its symbol for an unknown character.
_LINE_ENDS = re.compile("[\n\u2585]")


def _sample(texts: Iterable[str], config: TextTrainConfig) -> list[str]:
    """Return blocks of `texts`, at most `max_train_bytes`: those with the smallest hashes of seed and content."""
    key = config.seed.to_bytes(16, "big", signed=True)
    kept: list[tuple[int, bytes]] = []
    size, limit = 0, 1 << 64  # `limit`: the smallest rank dropped so far; ranks from there on are dropped
    for text in texts:
        for block in checked(blocks([text]), every=64):
            data = block.encode(errors="replace")
            rank = int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "big")
            if rank >= limit:
                continue
            heappush(kept, (-rank, data))
            size += len(data)
            while size > config.max_train_bytes:
                largest, dropped = heappop(kept)
                limit, size = -largest, size - len(dropped)
    return [data.decode() for negative, data in sorted(kept) if -negative < limit]
