"""Shards: the sequences of a plan, assembled from the token store and written as normalized tars.

A shard is one unit of work. `shard_job` puts together what the units of documents sent to it; `write_shard` writes
`train-000000-of-000012.tar` and then, as the sign that it is whole, its part file
`.parts/train-000000-of-000012.parquet`: the shard's ledger rows, with its index entry and the plan's fingerprint in the
file's metadata. A job whose part is there and right is not done again. `commit` makes a dataset of the parts.

A sequence in the tar is KEY.tokens.npy [S], in the vocabulary's type, padded with 0; KEY.spans.npy [M]; and KEY.json
with the chunk of a document behind each number in the spans. The bytes depend on the plan alone.

Axes: S sequence, M spans.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.dataset.ledger import ChunkTable, clip, shard_ledger
from pipeline.kinds.registry import names_of_splittable_kinds
from pipeline.packing.assign import CHUNKS, DOCUMENTS, Parcel, unpack_table
from pipeline.packing.plan import Plan
from pipeline.runtime.interrupt import raise_if_stopping
from pipeline.runtime.token_store import Tokens
from schemas.dataset import PARTS, ShardEntry, sequence_key, shard_name, shard_number
from schemas.errors import DatasetError
from schemas.files import atomic
from schemas.fingerprint import sha256_file
from schemas.shards.sequence import Chunk, PackedSequence, sequence_bytes
from schemas.shards.writer import ShardWriter
from schemas.vocab import Vocabulary

_FINGERPRINT, _ENTRY = b"fingerprint", b"entry"


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardJob:
    """All that is needed to write one shard, but the tokens."""

    fingerprint: str  # of the plan
    split: str
    index: int
    shards: int  # of the split
    first_sequence: int
    context_length: int
    vocabulary: Vocabulary
    text_weight: float
    vision_weight: float
    chunks: ChunkTable
    documents: pa.Table  # rows of records.TOKENS that the chunks point to, as far as they are sent

    @property
    def name(self) -> str:
        """The shard's file name."""
        return shard_name(self.split, self.index, self.shards)

    @property
    def keys(self) -> list[str]:
        """The KEY of each of its sequences."""
        return [sequence_key(self.split, self.first_sequence + i) for i in range(len(self.chunks.first) - 1)]


def shard_job(plan: Plan, name: str, parcels: Iterable[Parcel]) -> ShardJob:
    """Put together what is needed to write the shard `name`, from all the parcels for it, in any order.

    Within a sequence documents stand from long to short, and books, which fill what is left, last.
    """
    split, index = shard_number(name)
    part = plan.splits[split]
    first, end = part.first_sequence(index), part.first_sequence(index + 1)
    chunks, documents = _unpacked(parcels)
    is_book = np.isin(np.asarray(documents["kind"]), names_of_splittable_kinds())
    document, sequence, start, length, copy = (
        chunks[column].to_numpy() for column in ("document", "sequence", "start", "length", "copy")
    )
    books = is_book[document]
    order = np.lexsort((start, copy, document, np.where(books, 0, -length), books, sequence))
    return ShardJob(
        fingerprint=plan.fingerprint,
        split=split,
        index=index,
        shards=part.shards,
        first_sequence=first,
        context_length=plan.context_length,
        vocabulary=plan.vocabulary,
        text_weight=plan.config.text_weight,
        vision_weight=plan.config.vision_weight,
        chunks=ChunkTable(
            document[order],
            copy[order],
            start[order],
            length[order],
            chunks["weight"].to_numpy()[order],
            np.searchsorted(sequence[order], np.arange(first, end + 1)),
        ),
        documents=documents,
    )


def _unpacked(parcels: Iterable[Parcel]) -> tuple[pa.Table, pa.Table]:
    """Join parcels: the chunks, whose `document` is a row of the documents, which are sorted by their ids."""
    chunks, documents = [], []
    before = 0
    for parcel in parcels:
        some = unpack_table(parcel.chunks, CHUNKS)
        place = some.schema.get_field_index("document")
        chunks.append(some.set_column(place, "document", pc.add(some["document"], before)))
        documents.append(unpack_table(parcel.documents, DOCUMENTS))
        before += len(documents[-1])
    table = pa.concat_tables(documents)
    documents.clear()  # each step frees what the one before made
    table = table.combine_chunks()
    order = pc.sort_indices(table["document_id"]).to_numpy()
    table = table.take(order).combine_chunks()
    joined = pa.concat_tables(chunks).combine_chunks()
    place = joined.schema.get_field_index("document")
    rank = np.argsort(order)[joined["document"].to_numpy()]
    return joined.set_column(place, "document", pa.array(rank)), table


def write_shard(job: ShardJob, store: Tokens, directory: Path) -> None:
    """Write a shard and its part file, each whole or not at all; do nothing where both are there already.

    Raises DatasetError where a document in the store is not what its row says, StorageError where the disk is full.
    """
    if is_written(job, directory):
        return
    chunks, documents = job.chunks, job.documents
    clips = clip(chunks, documents, text_weight=job.text_weight, vision_weight=job.vision_weight)
    with atomic(directory / job.name) as temporary, temporary.open("wb") as f:
        shard = ShardWriter(f)
        for i, (key, (tokens, listing)) in enumerate(zip(job.keys, _sequences(job, store), strict=True)):
            raise_if_stopping()
            spans = clips.spans[clips.first[i] : clips.first[i + 1]]
            shard.add(sequence_bytes(PackedSequence(key=key, tokens=tokens, spans=spans, chunks=listing)))
        entry = shard.close(job.name, job.split)
    rows = shard_ledger(clips, chunks, documents, keys=job.keys, shard=job.name)
    metadata = {_FINGERPRINT: job.fingerprint, _ENTRY: json.dumps(dataclasses.asdict(entry))}
    with atomic(part_path(directory, job.name)) as temporary:
        pq.write_table(rows.replace_schema_metadata(metadata), temporary)


def is_written(job: ShardJob, directory: Path) -> bool:
    """Return whether the shard and its part file exist, belong to this plan and match their hash; reads the shard once."""
    path = directory / job.name
    try:
        entry = read_part(directory, job.name, fingerprint=job.fingerprint)
        return path.stat().st_size == entry.filesize and sha256_file(path) == entry.sha256
    except (OSError, DatasetError):
        return False


def part_path(directory: Path, name: str) -> Path:
    """Return where the part file of the shard `name` lies."""
    return directory / PARTS / Path(name).with_suffix(".parquet").name


def read_part(directory: Path, name: str, *, fingerprint: str) -> ShardEntry:
    """Return the index entry in a shard's part file; raises DatasetError where it is not there or of another plan."""
    path = part_path(directory, name)
    try:
        metadata = pq.read_schema(path).metadata
        found, values = metadata[_FINGERPRINT].decode(), json.loads(metadata[_ENTRY])
        entry = ShardEntry(**{**values, "offsets": tuple(values["offsets"])})
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as e:
        raise DatasetError(f"{path} is missing or cannot be read ({e}); run `longreel pack` again") from e
    if found != fingerprint:
        raise DatasetError(f"{path} belongs to another plan; run `longreel pack` again")
    return entry


def _sequences(job: ShardJob, store: Tokens) -> Iterator[tuple[NDArray[Any], list[Chunk]]]:
    """Assemble each sequence: its tokens [S] and its chunks."""
    ids = job.documents["document_id"].combine_chunks()
    places = np.stack([job.documents[name].to_numpy() for name in ("unit", "batch", "row", "length")])
    columns = (job.chunks.document, job.chunks.copy, job.chunks.start, job.chunks.length)
    for first, end in itertools.pairwise(job.chunks.first.tolist()):
        tokens = np.zeros(job.context_length, job.vocabulary.dtype)
        listing, at = list[Chunk](), 0
        chunks = [column[first:end] for column in columns]
        rows = zip(*(column.tolist() for column in (*chunks, *places[:, chunks[0]])), strict=True)
        for document, copy, start, length, unit, batch, row, total in rows:
            name = ids[document].as_py()
            # The chunk that ends a document is read to its end, so that one that is longer than its row is noticed.
            read = store.read(unit, batch, row, start, None if start + length == total else length)
            if len(read) != length or read.dtype != tokens.dtype:
                raise DatasetError(
                    f"document {name} ({job.documents['uri'][document]}): the token store holds {start + len(read)} "
                    f"tokens of {read.dtype}, its index says {total} and the vocabulary {tokens.dtype}; "
                    "run `longreel tokenize` again"
                )
            tokens[at : at + length] = read
            at += length
            listing.append(Chunk(id=name, copy=copy, start=start, length=length))
        if tokens.max() >= job.vocabulary.size:
            raise DatasetError(f"token {tokens.max()} of {listing} is outside the vocabulary of {job.vocabulary.size}")
        yield tokens, listing
