"""The items of all inputs in one table: sorted by address, each once.

Items are objects only in batches while they are listed. An address that is listed several times is found by sorting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from schemas.large_tables import collected, in_batches, taken
from schemas.records import MANIFEST
from schemas.rows import ManifestItem, manifest_items, manifest_table

_SOURCE = "listed_in"
_LISTED = MANIFEST.append(pa.field(_SOURCE, pa.binary(), nullable=False))
Conflict = Callable[[str, Iterable[str]], ManifestItem]


class ListedItem(NamedTuple):
    """An item and a description of where it is listed, for error messages."""

    source: str
    item: ManifestItem


def items_once(listed: Iterable[ListedItem], conflict: Conflict) -> pa.Table:
    """Return the items as a table of MANIFEST with 64-bit offsets, sorted by address.

    An item that is listed with different values becomes what `conflict` returns for its address and these sources.
    """
    table = collected(listed, _listed_table, _LISTED)
    table = taken(table, pc.sort_indices(table, sort_keys=[("uri", "ascending")]))  # a stable sort
    is_repeated = _is_repeated(table["uri"])
    if not pc.any(is_repeated).as_py():
        return table.drop_columns([_SOURCE])
    repeated = groupby(_listed_items(table.filter(is_repeated)), key=lambda one: one.item.uri)
    merged = collected((_merged(list(group), conflict) for _, group in repeated), manifest_table, MANIFEST)
    once = pa.concat_tables([table.filter(pc.invert(is_repeated)).drop_columns([_SOURCE]), merged])
    return taken(once, pc.sort_indices(once, sort_keys=[("uri", "ascending")]))


def _listed_table(listed: list[ListedItem]) -> pa.Table:
    sources = pa.array([source.encode(errors="surrogatepass") for source, _ in listed], pa.binary())
    return manifest_table(item for _, item in listed).append_column(_LISTED.field(_SOURCE), sources)


def _listed_items(table: pa.Table) -> Iterator[ListedItem]:
    for batch in in_batches(table):
        items = manifest_items(batch.drop_columns([_SOURCE]))
        sources = (source.decode(errors="surrogatepass") for source in batch[_SOURCE].to_pylist())
        yield from map(ListedItem, sources, items)


def _is_repeated(sorted_names: pa.ChunkedArray) -> pa.Array:
    """Return for each name whether another one is equal to it."""
    names = sorted_names.combine_chunks()
    if len(names) < 2:
        return pa.array([False] * len(names), pa.bool_())
    is_as_before = pc.equal(names[1:], names[:-1])
    no = pa.array([False])
    return pc.or_(pa.concat_arrays([no, is_as_before]), pa.concat_arrays([is_as_before, no]))


def _merged(listed: list[ListedItem], conflict: Conflict) -> ManifestItem:
    """Return the item that is listed several times."""
    first = listed[0]
    others = {source for source, item in listed if item != first.item}
    return conflict(first.item.uri, {first.source, *others}) if others else first.item
