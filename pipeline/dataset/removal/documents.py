"""Reads which documents a dataset contains from its ledger, in batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.token_store import items_of
from schemas.errors import DatasetError
from schemas.records import LEDGER as LEDGER_SCHEMA
from schemas.storage.location import Location
from schemas.tables import open_table

_BATCH_ROWS = 1 << 17


def documents_of_items(ledger: Location, items: Collection[str]) -> frozenset[str]:
    """Return the ids of the documents that were made of `items` (document_ids of the survey): a clip has its own."""
    wanted = pa.array(sorted(items), pa.string())
    found: set[str] = set()
    for batch in read_batches(ledger, ["document_id"]):
        ids = pc.unique(batch["document_id"])
        found.update(ids.filter(pc.is_in(items_of(ids), wanted)).to_pylist())
    return frozenset(found)


def read_batches(ledger: Location, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of the ledger as tables of bounded size; raises DatasetError if it cannot be read."""
    try:
        with open_table(ledger) as file:
            if not file.schema_arrow.equals(LEDGER_SCHEMA):
                raise DatasetError(f"{ledger} does not have the columns of a ledger")
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                yield pa.Table.from_batches([batch])
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel verify`") from e
