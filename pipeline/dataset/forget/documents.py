"""Finds the documents of a dataset that the user names by id, prefix of an id, or URI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import ConfigError, DatasetError
from schemas.records import LEDGER as LEDGER_SCHEMA
from schemas.records import item_of
from schemas.tables import open_table

SHORTEST_PREFIX = 8  # characters of an id
_BATCH_ROWS = 1 << 17
_MAX_NAMES = 5  # documents in an error message


class DocumentRef(NamedTuple):
    """A document of the dataset, and what the user can name it by."""

    document_id: str
    uri: str
    title: str | None

    def matches(self, name: str) -> bool:
        """Return whether `name` is one of the document's names or a prefix of its id."""
        return self.has_name(name) or is_prefix(name, self.document_id)

    def has_name(self, name: str) -> bool:
        """Return whether `name` is the document's id, the id of its item, or its URI."""
        return name in (self.document_id, item_of(self.document_id), self.uri)


def is_prefix(name: str, document_id: str) -> bool:
    """Return whether `name` is a prefix of an id with at least SHORTEST_PREFIX characters."""
    return len(name) >= SHORTEST_PREFIX and document_id.startswith(name)


def find_documents(ledger: Path, names: Sequence[str]) -> list[DocumentRef]:
    """Return the documents that match any of `names`, sorted by id."""
    wanted = pa.array(dict.fromkeys(names), pa.string())
    found: dict[str, DocumentRef] = {}
    for batch in read_batches(ledger, ["document_id", "uri", "title"]):
        ids = batch["document_id"]
        mask = pc.or_(pc.is_in(ids, wanted), pc.is_in(batch["uri"], wanted))
        for name in names:
            if len(name) >= SHORTEST_PREFIX:
                mask = pc.or_(mask, pc.starts_with(ids, name))
        for row in batch.filter(mask).to_pylist():
            found.setdefault(row["document_id"], DocumentRef(**row))
    return [found[name] for name in sorted(found)]


def choose(
    names: Sequence[str], candidates: Sequence[DocumentRef], forgotten: Sequence[str]
) -> tuple[list[DocumentRef], list[str]]:
    """Return the documents that `names` select, and the names that match only documents that are `forgotten` already.

    A URI selects all documents with it; the id of an item, or a prefix of one, selects all its clips. Raises
    ConfigError that lists all names that match no document, or match several items.
    """
    chosen: dict[str, DocumentRef] = {}
    already, wrong = [], []
    for name in dict.fromkeys(names):
        exact = [d for d in candidates if d.has_name(name)]
        matching = exact or [d for d in candidates if is_prefix(name, d.document_id)]
        ids = sorted({d.document_id if "#" in name else item_of(d.document_id) for d in matching})
        if len(ids) > 1 and not exact:
            examples = ", ".join(i[: len(name) + 8] for i in ids[:_MAX_NAMES])
            wrong.append(f"{name!r} is a prefix of {len(ids)} documents ({examples} …): give more of the id")
        elif matching:
            chosen |= {d.document_id: d for d in matching}
        elif any(is_prefix(name, i) or name == i for i in forgotten):
            already.append(name)
        else:
            wrong.append(
                f"{name!r} is not an id, a prefix of at least {SHORTEST_PREFIX} characters of an id, or an address"
            )
    if wrong:
        raise ConfigError("nothing was changed: " + "; ".join(wrong))
    return [chosen[i] for i in sorted(chosen)], already


def read_batches(ledger: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of the ledger as tables of bounded size; raises DatasetError if it cannot be read."""
    try:
        with open_table(ledger) as file:
            if not file.schema_arrow.equals(LEDGER_SCHEMA):
                raise DatasetError(f"{ledger} does not have the columns of a ledger")
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                yield pa.Table.from_batches([batch])
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel verify`") from e
