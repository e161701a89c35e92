"""Write the planned sequences as shards: normalized tar files.

A shard is one unit of work. `shard_job` merges the inputs of a shard from all units. `write_shard` writes
`train-000000-of-000012-HASH.tar`, and then its part file `.parts/train-000000-of-000012.parquet`, which marks the shard
as complete: the ledger rows of the shard, with its index entry and the fingerprint of the plan in the file metadata.
Shards with a valid part file are not written again. `commit` combines the part files into a dataset.

A sequence in the tar consists of KEY.tokens.npy [S], in the type of the vocabulary and padded with 0; KEY.spans.npy
[M]; and KEY.json, which lists the chunks that the spans refer to. The bytes depend on the plan alone.

Axes: S sequence, M spans.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.dataset.ledger import ChunkTable, clip, shard_ledger
from pipeline.kinds.registry import names_of_splittable_kinds
from pipeline.packing.assign import CHUNKS, DOCUMENTS, ShardInput, unpack_table
from pipeline.packing.plan import DatasetPlan
from pipeline.runtime.interrupt import raise_if_stopping
from pipeline.runtime.token_store import Tokens
from schemas.content_named import content_named
from schemas.dataset_files import PARTS, sequence_key, shard_name, shard_number
from schemas.errors import DatasetError
from schemas.fingerprint import sha256_file
from schemas.shards.index import ShardEntry
from schemas.shards.sequence import Chunk, PackedSequence, sequence_bytes
from schemas.shards.writer import ShardWriter
from schemas.storage.location import Location
from schemas.tables import open_table, write_table
from schemas.vocab import Vocabulary

_CHUNK_ROWS = 4096  # converted to Python at a time
_WRITE_BYTES = 1 << 20  # per call of the system
_FINGERPRINT, _ENTRY = b"fingerprint", b"entry"


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardJob:
    """All the data of one shard except its tokens."""

    fingerprint: str  # of the plan
    split: str
    index: int
    shards: int  # number of shards of the split
    first_sequence: int
    context_length: int
    vocabulary: Vocabulary
    text_weight: float
    vision_weight: float
    chunks: ChunkTable
    documents: pa.Table  # rows of assign.DOCUMENTS that the chunks refer to

    @property
    def name(self) -> str:
        """The name of the shard without the hash."""
        return shard_name(self.split, self.index, self.shards)

    @property
    def keys(self) -> list[str]:
        """The KEY of each sequence of the shard."""
        return [sequence_key(self.split, self.first_sequence + i) for i in range(len(self.chunks.first) - 1)]


def shard_job(plan: DatasetPlan, name: str, shard_inputs: Iterable[ShardInput]) -> ShardJob:
    """Return the job of the shard `name` from all its inputs, in any order.

    The documents of a sequence are sorted by descending length; books, which fill the free space, are last.
    """
    split, index = shard_number(name)
    part = plan.splits[split]
    first, end = part.first_sequence(index), part.first_sequence(index + 1)
    chunks, documents = _unpacked(shard_inputs)
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


def _unpacked(shard_inputs: Iterable[ShardInput]) -> tuple[pa.Table, pa.Table]:
    """Concatenate shard inputs; return the chunks and the documents [D] they refer to, sorted by id."""
    chunks, documents = [], []
    before = 0
    for shard_input in shard_inputs:
        some = unpack_table(shard_input.chunks, CHUNKS)
        place = some.schema.get_field_index("document")
        chunks.append(some.set_column(place, "document", pc.add(some["document"], before)))
        documents.append(unpack_table(shard_input.documents, DOCUMENTS))
        before += len(documents[-1])
    table = pa.concat_tables(documents)
    documents.clear()  # frees memory before the table is copied
    table = table.combine_chunks()
    order = pc.sort_indices(table["document_id"]).to_numpy()
    table = table.take(order).combine_chunks()
    joined = pa.concat_tables(chunks).combine_chunks()
    place = joined.schema.get_field_index("document")
    rank = np.argsort(order)[joined["document"].to_numpy()]
    return joined.set_column(place, "document", pa.array(rank)), table


def write_shard(job: ShardJob, store: Tokens, directory: Location) -> None:
    """Write a shard and its part file, each atomically; do nothing if both are already written.

    Raises DatasetError if a document in the token store contradicts its index row, StorageError if the disk is full.
    """
    if is_written(job, directory):
        return
    chunks, documents = job.chunks, job.documents
    clips = clip(chunks, documents, text_weight=job.text_weight, vision_weight=job.vision_weight)
    with content_named(directory, job.name) as draft, draft.path.open("wb", buffering=_WRITE_BYTES) as f:
        shard = ShardWriter(f)
        for i, (key, (tokens, listing)) in enumerate(zip(job.keys, _sequences(job, store), strict=True)):
            raise_if_stopping()
            spans = clips.spans[clips.first[i] : clips.first[i + 1]]
            shard.add(sequence_bytes(PackedSequence(key=key, tokens=tokens, spans=spans, chunks=listing)))
        entry = shard.close(job.name, job.split)
        draft.sha256 = entry.sha256
    rows = shard_ledger(clips, chunks, documents, keys=job.keys, shard=entry.url)
    metadata = {_FINGERPRINT: job.fingerprint, _ENTRY: json.dumps(dataclasses.asdict(entry))}
    write_table(part_path(directory, job.name), rows.replace_schema_metadata(metadata))


def is_written(job: ShardJob, directory: Location) -> bool:
    """Return whether the shard and its part file exist, belong to this plan and match the hash; reads the shard."""
    try:
        entry = read_part(directory, job.name, fingerprint=job.fingerprint)
        path = directory / entry.url
        found = path.stat()
        return found is not None and found.size == entry.filesize and sha256_file(path) == entry.sha256
    except (OSError, DatasetError):
        return False


def part_path(directory: Location, name: str) -> Location:
    """Return the place of the part file of the shard `name`."""
    return directory / PARTS / f"{name.removesuffix('.tar').removesuffix('.parquet')}.parquet"


def read_part(directory: Location, name: str, *, fingerprint: str) -> ShardEntry:
    """Return the index entry in the part file of a shard; raises DatasetError if it is missing or of another plan."""
    path = part_path(directory, name)
    try:
        with open_table(path) as file:
            metadata = file.schema_arrow.metadata
        found, values = metadata[_FINGERPRINT].decode(), json.loads(metadata[_ENTRY])
        entry = ShardEntry(**{**values, "offsets": tuple(values["offsets"])})
    except (DatasetError, ValueError, TypeError, KeyError) as e:
        raise DatasetError(f"{path} is missing or damaged ({e}); run `longreel pack` again") from e
    if found != fingerprint:
        raise DatasetError(f"{path} belongs to another plan; run `longreel pack` again")
    return entry


def _sequences(job: ShardJob, store: Tokens) -> Iterator[tuple[NDArray[Any], list[Chunk]]]:
    """Yield the tokens [S] and the chunks of each sequence."""
    dtype, size = job.vocabulary.dtype, job.vocabulary.size
    rows = _chunk_rows(job)
    for count in np.diff(job.chunks.first).tolist():
        tokens = np.zeros(job.context_length, dtype)
        listing, at = list[Chunk](), 0
        for document, name, copy, start, length, unit, batch, row, total in itertools.islice(rows, count):
            # The last chunk of a document is read without a limit, to detect a document longer than its index row.
            read = store.read(unit, batch, row, start, None if start + length == total else length)
            if len(read) != length or read.dtype != dtype:
                raise DatasetError(
                    f"document {name} ({job.documents['uri'][document]}): the token store holds {start + len(read)} "
                    f"tokens of {read.dtype}, but the index row expects {total} of {dtype}; "
                    "run `longreel tokenize` again"
                )
            tokens[at : at + length] = read
            at += length
            listing.append(Chunk(id=name, copy=copy, start=start, length=length))
        if tokens.max() >= size:
            raise DatasetError(
                f"token {tokens.max()} of {listing} is outside the vocabulary of {size} tokens; "
                "run `longreel tokenize` again"
            )
        yield tokens, listing


def _chunk_rows(job: ShardJob) -> Iterator[tuple[Any, ...]]:
    """Yield of each chunk: document, its id, copy, start, length, and the document's unit, batch, row and length."""
    ids = job.documents["document_id"].combine_chunks()
    places = [job.documents[name].to_numpy() for name in ("unit", "batch", "row", "length")]
    chunks = job.chunks
    for first in range(0, len(chunks.document), _CHUNK_ROWS):
        some = slice(first, first + _CHUNK_ROWS)
        document = chunks.document[some]
        numbers = [chunks.copy[some], chunks.start[some], chunks.length[some], *(place[document] for place in places)]
        columns = (document.tolist(), ids.take(document).to_pylist(), *(column.tolist() for column in numbers))
        yield from zip(*columns, strict=True)
