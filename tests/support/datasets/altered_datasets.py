"""A packed dataset, and functions that alter it, for tests of `longreel verify`."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.verify.verify import VerifyReport
from schemas.dataset_files import plain_name
from schemas.shards.index import checksum_of_sequence
from schemas.shards.npy import npy
from schemas.shards.tar import end_of_archive, member
from tests.support.datasets.packed_datasets import reseal
from tests.support.stored_files import file_of, index_of, write_index
from tests.support.token_stores import book, image, video

DOCUMENTS = [
    *(book(f"book {i}", 11 * i + 30) for i in range(4)),
    *(video(f"video {i}", [i + 1, 3]) for i in range(5)),
    image("image"),
    video("long", [40, 7]),
    book("held out", 90, split="val"),
]
KEY = "train-000000001"  # the second sequence of the first shard
SHARD = "train-000000-of-000003.tar"


def named(report: VerifyReport, file: str, key: str, what: str) -> bool:
    """Return whether the report has a problem of this file and key that contains `what`."""
    return any(plain_name(p.file) == file and p.key == key and what in p.what for p in report.problems)


Members = dict[str, bytes]


def rewrite(directory: Path, change: Callable[[Members], Members], key: str = KEY) -> None:
    """Change the members of one sequence and update its shard, the offsets and the hashes."""
    shards = index_of(directory)
    for n, shard in enumerate(shards):
        samples: dict[str, Members] = {}
        with tarfile.open(directory / shard.url) as tar:
            for m in tar:
                samples.setdefault(m.name.split(".")[0], {})[m.name] = tar.extractfile(m).read()  # type: ignore[union-attr]
        if key not in samples:
            continue
        samples[key] = change(samples[key])
        blocks = [b"".join(member(*m) for m in some.items()) for some in samples.values()]
        offsets = np.cumsum([0, *map(len, blocks)]).tolist()
        data = b"".join(blocks) + end_of_archive(offsets[-1])
        (directory / shard.url).write_bytes(data)
        shards[n] = dataclasses.replace(
            shard,
            offsets=tuple(offsets),
            filesize=len(data),
            nsamples=len(samples),
            checksums="".join(map(checksum_of_sequence, blocks)),
        )
    write_index(directory, shards)
    reseal(directory)


def array(part: str, edit: Callable[[Any], Any]) -> Callable[[Members], Members]:
    """Return a change of one array of a sequence."""

    def change(members: Members) -> Members:
        values = np.load(io.BytesIO(members[f"{KEY}.{part}.npy"])).copy()
        return members | {f"{KEY}.{part}.npy": npy(edit(values))}

    return change


def put(field: str | None, at: int | slice, value: object) -> Callable[[Any], Any]:
    """Return an edit of an array: `values[field][at] = value`."""

    def edit(values: Any) -> Any:
        (values if field is None else values[field])[at] = value
        return values

    return edit


def listing(edit: Callable[[list[Any]], Any]) -> Callable[[Members], Members]:
    """Return a change of the documents in KEY.json, in place."""

    def change(members: Members) -> Members:
        documents = json.loads(members[f"{KEY}.json"])["documents"]
        edit(documents)
        return members | {f"{KEY}.json": json.dumps({"documents": documents}, separators=(",", ":")).encode()}

    return change


def raw(part: str, data: bytes) -> Callable[[Members], Members]:
    """Return a change of the bytes of one member."""
    return lambda members: members | {f"{KEY}.{part}": data}


def first_span(dataset: Path, modality: int) -> int:
    """Return the first token of a modality in the sequence KEY."""
    with tarfile.open(file_of(dataset, SHARD)) as tar:
        spans = np.load(io.BytesIO(tar.extractfile(f"{KEY}.spans.npy").read()))  # type: ignore[union-attr]
    return int(spans["start"][np.argmax(spans["modality"] == modality)])
