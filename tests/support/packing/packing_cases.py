"""Documents, token stores and packed datasets for the tests of packing."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from pipeline.packing.config import PackConfig
from pipeline.packing.plan import DatasetPlan
from pipeline.packing.shards import ShardJob
from schemas.fingerprint import bucket
from schemas.records import TOKENS
from schemas.vocab import TEXT, VISION
from tests.support.packing.local_packing import CONTEXT, SMALL, make_jobs, pack_documents, unit_tables
from tests.support.token_stores import StoredDocument, book, image, video, write_store

ANYWHERE = PackConfig(sentence_reach=0.0)


DOCUMENTS = [
    *(book(f"book {i}", 17 * i + 40) for i in range(6)),
    *(video(f"video {i}", [i + 1, 3]) for i in range(10)),
    *(image(f"image {i}", caption=3 + i) for i in range(5)),
    video("long", [40, 7, 90], cue=70),
    book("held out", 90, split="val"),
    video("held out too", [5], split="val"),
]


Chunk = tuple[str, int, int, int, float]  # id, copy, start, length, weight


def tables_of(documents: Sequence[StoredDocument], units: int = 2) -> list[pa.Table]:
    rows = [[d.row() for d in documents if bucket(d.id, units) == unit] for unit in range(units)]
    return [pa.Table.from_pylist(some, TOKENS) for some in rows]


def packed_plan(
    documents: Sequence[StoredDocument], context: int = CONTEXT, config: PackConfig = ANYWHERE
) -> DatasetPlan:
    return make_jobs(tables_of(documents), config, context=context)[0]


def described(jobs: Sequence[ShardJob]) -> dict[str, list[list[Chunk]]]:
    """Return the chunks of each sequence of each split."""
    result: dict[str, list[list[Chunk]]] = {}
    for job in jobs:
        ids = job.documents["document_id"].to_pylist()
        document, *rest, first = (column.tolist() for column in job.chunks)
        chunks = [(ids[d], *others) for d, *others in zip(document, *rest, strict=True)]
        result.setdefault(job.split, []).extend(chunks[a:b] for a, b in itertools.pairwise(first))
    return result


def laid_out_sequences(
    documents: Sequence[StoredDocument], context: int = CONTEXT, config: PackConfig = ANYWHERE
) -> dict[str, list[list[Chunk]]]:
    return described(make_jobs(tables_of(documents), config, context=context)[1])


KINDS = st.one_of(
    st.tuples(st.just("book"), st.integers(2, 200)),
    st.tuples(st.just("video"), st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(0, 90)),
    st.tuples(st.just("image"), st.integers(1, 90)),
)


def make(i: int, spec: tuple[object, ...]) -> StoredDocument:
    split = "val" if i % 5 == 4 else "train"
    match spec:
        case ("book", int(length)):
            return book(f"book {i}", length, split=split)
        case ("video", list(runs), int(cue)):
            return video(f"video {i}", runs, cue=cue + 1, split=split)
        case (_, int(caption)):
            return image(f"image {i}", caption=caption, split=split)
    raise AssertionError(spec)


def clips(frames: np.ndarray, captions: np.ndarray, patch: int = 256) -> pa.Table:
    """Return index rows of captioned videos: a caption, frames, and two text tokens."""
    rows = []
    for i, (count, caption) in enumerate(zip(frames.tolist(), captions.tolist(), strict=True)):
        parts = ((caption + 2, TEXT), (count * (patch + 1), VISION), (2, TEXT))
        rows.append(shape(f"clip {i}", "video", parts, frame_tokens=patch + 1, frames=count))
    return pa.Table.from_pylist(rows, TOKENS)


def books(lengths: np.ndarray) -> pa.Table:
    return pa.Table.from_pylist([shape(f"b {i}", "book", ((n, TEXT),)) for i, n in enumerate(lengths.tolist())], TOKENS)


def shape(
    name: str, kind: str, parts: tuple[tuple[int, int], ...], *, frame_tokens: int = 0, frames: int = 0
) -> dict[str, object]:
    ends = np.cumsum([length for length, _ in parts]).tolist()
    spans = [
        {"start": end - length, "length": length, "modality": modality, "weight": 1.0}
        for end, (length, modality) in zip(ends, parts, strict=True)
    ]
    facts = {"document_id": name, "fingerprint": "f", "kind": kind, "split": "train", "uri": name, "length": ends[-1]}
    frame = {
        "frame_tokens": frame_tokens,
        "frames": frames,
        "frames_promised": frames,
        "cues": 0,
        "cues_outside": 0,
        "spans": spans,
    }
    return dict.fromkeys(TOKENS.names) | {"unit": 0, "batch": 0, "row": 0} | facts | frame


def prepare(
    tokens: Path, config: PackConfig = SMALL, documents: Sequence[StoredDocument] = DOCUMENTS, *, units: int = 3
) -> tuple[DatasetPlan, list[ShardJob]]:
    store = write_store(tokens, documents, units=units)
    return make_jobs(unit_tables(tokens), config, store=store)


def pack(
    root: Path, config: PackConfig = SMALL, documents: Sequence[StoredDocument] = DOCUMENTS, *, seed: int = 0
) -> Path:
    return pack_documents(root, documents, config, seed=seed)


def files(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def samples(directory: Path, split: str) -> list[dict[str, Any]]:
    """Read the sequences with tarfile, NumPy and json only."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.glob(f"{split}-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, part = member.name.split(".", 1)
                data = tar.extractfile(member).read()  # type: ignore[union-attr]
                value = json.loads(data) if part == "json" else np.load(io.BytesIO(data), allow_pickle=False)
                found.setdefault(key, {"key": key, "shard": path.name})[part] = value
    return list(found.values())
