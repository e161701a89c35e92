"""Writes a small, valid packed dataset with nothing but `schemas`: what the trainer is tested on.

Documents are runs that a small model learns in a few steps: a book counts upwards through the text ids, a video repeats
one frame of codes. Lengths are drawn so that chunks of several documents share a sequence and some padding is left.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.dataset import SCHEMA_VERSION, DatasetCard, SplitCard
from schemas.dataset_files import CARD, CROISSANT, INDEX, LEDGER, sequence_key, shard_name
from schemas.files import write_text
from schemas.fingerprint import fingerprint
from schemas.packed import SPAN_DTYPE
from schemas.records import LEDGER as LEDGER_SCHEMA
from schemas.shards.index import ShardEntry, checksum_of_sequence, index_json
from schemas.tables import write_table
from schemas.vocab import TEXT, VISION, Vocabulary
from tests.support.stored_files import stored_file

FRAME = 4  # codes in a frame

VOCABULARY = Vocabulary(
    text_size=64,
    codebook_size=32,
    bos_id=1,
    eos_id=2,
    begin_vision=(3,),
    end_vision=(4,),
    text_sha256="1" * 64,
    vision_sha256="2" * 64,
)


def write_dataset(
    directory: Path,
    *,
    context: int = 128,
    train: int = 8,
    val: int = 3,
    vocabulary: Vocabulary = VOCABULARY,
    seed: int = 0,
    per_shard: int = 3,
    heavy: int | None = None,
) -> Path:
    """Write `train` and `val` sequences of `context` tokens under `directory`; return it.

    The training sequence `heavy` gets weights under which a sum in float32 overflows.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shards: list[ShardEntry] = []
    cards: dict[str, SplitCard] = {}
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        if not count:
            continue
        samples = [sequence(rng, context=context, vocabulary=vocabulary) for _ in range(count)]
        if split == "train" and heavy is not None:
            samples[heavy][1]["weight"] = 3e38
        groups = [samples[i : i + per_shard] for i in range(0, count, per_shard)]
        first = 0
        for number, group in enumerate(groups):
            name = shard_name(split, number, len(groups))
            shards.append(_write_shard(directory, name, split, first, group))
            first += len(group)
        cards[split] = _split_card(samples, shards=len(groups), context=context)
    (directory / INDEX).write_text(index_json(shards))
    write_table(directory / LEDGER, pa.Table.from_pylist([], schema=LEDGER_SCHEMA))
    (directory / CROISSANT).write_text("{}")
    card = DatasetCard(
        schema_version=SCHEMA_VERSION,
        context_length=context,
        vocabulary=vocabulary,
        frame_grid=(2, 2),
        frame_size=8,
        frame_rate=4.0,
        loss_weighting="token",
        fingerprint=fingerprint([s.sha256 for s in shards]),
        files={name: stored_file(directory, name) for name in (INDEX, LEDGER, CROISSANT)},
        shards=tuple(shard.file for shard in shards),
        splits=cards,
    )
    write_text(directory / CARD, card.to_json())
    return directory


def sequence(rng: np.random.Generator, *, context: int, vocabulary: Vocabulary) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return tokens [S] and spans [M] of one sequence."""
    tokens: list[int] = []
    spans: list[tuple[int, int, int, int, float]] = []
    document = 0
    while True:
        parts = _book(rng, vocabulary) if document % 2 else _video(rng, vocabulary)
        if len(tokens) + sum(len(ids) for ids, _ in parts) > context:
            break
        weight = float(rng.choice([0.5, 1.0, 2.0]))
        for ids, modality in parts:
            spans.append((len(tokens), len(ids), document, modality, weight))
            tokens += ids
        document += 1
    padded = np.zeros(context, vocabulary.dtype)
    padded[: len(tokens)] = tokens
    return padded, np.array(spans, SPAN_DTYPE)


def with_other_tokenizer(vocabulary: Vocabulary = VOCABULARY) -> Vocabulary:
    """Return a vocabulary of the same sizes from another text tokenizer."""
    return dataclasses.replace(vocabulary, text_sha256="3" * 64)


def _book(rng: np.random.Generator, v: Vocabulary) -> list[tuple[list[int], int]]:
    first = int(rng.integers(5, v.text_size))
    count = int(rng.integers(4, 24))
    ids = [5 + (first + i) % (v.text_size - 5) for i in range(count)]
    return [([v.bos_id, *ids, v.eos_id], TEXT)]


def _video(rng: np.random.Generator, v: Vocabulary) -> list[tuple[list[int], int]]:
    frame = [v.text_size + int(c) for c in rng.integers(0, v.codebook_size, FRAME)]
    frames = int(rng.integers(1, 6))
    ids = [i for _ in range(frames) for i in (*frame, v.eof)]
    ids[-1] = v.eov
    return [([v.bos_id, *v.begin_vision], TEXT), (ids, VISION), ([*v.end_vision, v.eos_id], TEXT)]


def _write_shard(
    directory: Path, name: str, split: str, first: int, group: list[tuple[NDArray[Any], NDArray[Any]]]
) -> ShardEntry:
    offsets = []
    path = directory / name
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i, (tokens, spans) in enumerate(group):
            offsets.append(tar.offset)
            key = sequence_key(split, first + i)
            documents = [f"{split}-{first + i}-{d}" for d in range(int(spans["document"].max(initial=-1)) + 1)]
            _add(tar, f"{key}.tokens.npy", _npy(tokens))
            _add(tar, f"{key}.spans.npy", _npy(spans))
            _add(tar, f"{key}.json", json.dumps({"documents": documents}).encode())
        offsets.append(tar.offset)
    data = path.read_bytes()
    return ShardEntry(
        url=name,
        split=split,
        nsamples=len(group),
        filesize=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        offsets=tuple(offsets),
        checksums=checksums_of(data, offsets),
    )


def checksums_of(data: bytes, offsets: Sequence[int]) -> str:
    """Return `ShardEntry.checksums` of a shard."""
    return "".join(checksum_of_sequence(data[start:end]) for start, end in itertools.pairwise(offsets))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o444, 0
    tar.addfile(info, io.BytesIO(data))


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _split_card(samples: list[tuple[NDArray[Any], NDArray[Any]]], *, shards: int, context: int) -> SplitCard:
    lengths = np.concatenate([spans["length"] for _, spans in samples])
    vision = np.concatenate([spans["modality"] == VISION for _, spans in samples])
    tokens = int(lengths.sum())
    fill = tokens / (len(samples) * context)
    return SplitCard(
        sequences=len(samples),
        shards=shards,
        documents=sum(int(spans["document"].max(initial=-1)) + 1 for _, spans in samples),
        tokens=tokens,
        text_tokens=int(lengths[~vision].sum()),
        vision_tokens=int(lengths[vision].sum()),
        fill=fill,
        best_fill=fill,
    )
