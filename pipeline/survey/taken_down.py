"""Items that were taken down: they stay listed with that reason, and nothing else of them is kept.

An item that the block list knows by its address is replaced when it is listed, so that its file is not read again. One
that it knows by its bytes, its content or similarity is found by the survey, and its address is added to the list.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.block_list import FOUND, BlockedItem, BlockList, write_blocked
from pipeline.runtime.manifest_file import ABSENT, read_listed, write_manifest
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.sources.text_tables import parse_row_uri
from schemas.counted import counted
from schemas.errors import Reason
from schemas.fingerprint import fingerprint
from schemas.records import MANIFEST, SURVEY
from schemas.rows import ManifestItem, SurveyRow, manifest_table

_VERSION = 1


def taken_down_item(uri: str, kind: str, takedown: str) -> ManifestItem:
    """Return what stays listed of an item that was taken down."""
    detail = f"taken down; see takedown/receipts/{takedown}.json"
    return ManifestItem(uri=uri, kind=kind, reason=Reason.TAKEN_DOWN.value, detail=detail)


def without_blocked(items: pa.Table, block_list: BlockList) -> pa.Table:
    """Return a table with the columns of MANIFEST, with the items replaced whose addresses are blocked."""
    return replaced_items(items, {uri: blocked.takedown for uri, blocked in block_list.by_address.items()})


def replaced_items(items: pa.Table, takedowns: Mapping[str, str]) -> pa.Table:
    """Return a table with the columns of MANIFEST, with what stays of the items of `takedowns`, by address, at its end.

    Other columns keep their values.
    """
    is_replaced = pc.is_in(items["uri"], pa.array(sorted(takedowns), items.schema.field("uri").type))
    old = items.filter(is_replaced)
    pairs = zip(old["uri"].to_pylist(), old["kind"].to_pylist(), strict=True)
    new = manifest_table(taken_down_item(uri, kind, takedowns[uri]) for uri, kind in pairs)
    for name in MANIFEST.names:
        at = items.schema.get_field_index(name)
        old = old.set_column(at, items.schema.field(at), new[name].cast(items.schema.field(at).type))
    return pa.concat_tables([items.filter(pc.invert(is_replaced)), old])


def taken_down_row(row: SurveyRow, takedown: str) -> SurveyRow:
    """Return what stays of a row, with the fingerprint that the next survey gives it.

    A row of a table is not blocked by its address, so its row keeps the fingerprint that it has.
    """
    item = taken_down_item(row.uri, row.kind, takedown)
    return SurveyRow.of(item, fingerprint=row.fingerprint if parse_row_uri(row.uri) else listed_fingerprint(item))


def listed_fingerprint(item: ManifestItem) -> str:
    """Return the fingerprint of an item that is rejected when it is listed."""
    return fingerprint(_VERSION, item)


def block_found_items(workspace: Workspace, block_list: BlockList) -> None:
    """Add the addresses of taken-down items that the survey found to the block list, and clear their manifest rows."""
    surveyed = read_units(workspace.survey, SURVEY, ["uri", "kind", "reason", "detail"])
    taken = surveyed.filter(pc.equal(surveyed["reason"], Reason.TAKEN_DOWN.value))
    new = [row for row in taken.to_pylist() if block_list.at(row["uri"]) is None]
    if not new:
        return
    takedowns = {row["uri"]: row["detail"].rpartition("/")[2].removesuffix(".json") for row in new}
    found = [BlockedItem(uri=row["uri"], kind=row["kind"], takedown=takedowns[row["uri"]]) for row in new]
    known = [item for item in block_list.items if item.file == FOUND]
    write_blocked(workspace, FOUND, [*known, *(item for item in found if parse_row_uri(item.uri) is None)])
    clear_manifest_rows(workspace, takedowns)


def clear_manifest_rows(workspace: Workspace, takedowns: Mapping[str, str]) -> None:
    """Replace the manifest rows of taken-down items, given as takedowns by address."""
    write_manifest(workspace, replaced_items(read_listed(workspace, [*MANIFEST.names, ABSENT]), takedowns))


def unsearchable_note(block_list: BlockList) -> str:
    """Return a sentence about taken-down items whose copies are found by their hashes only, "" if there is none."""
    if not (items := block_list.unsearchable()):
        return ""
    return (
        f"hash keys of another version: {counted(len(items), 'taken-down item')}, such as {items[0].uri}; only files "
        "with equal bytes or content are recognized as theirs, re-encoded copies and excerpts are not"
    )
