"""Items that were taken down: they stay listed with that reason, and nothing else of them is kept.

An item that the block list knows by its address is replaced when it is listed, so that its file is not read again. One
that it knows by its bytes, its content or similarity is found by the survey, and its address is added to the list.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc

from pipeline.dedup.block_list import FOUND, BlockedItem, BlockList, write_blocked
from pipeline.runtime.workspace import Workspace, read_absent, read_listed_items, read_units, write_manifest
from pipeline.sources.text_tables import parse_row_uri
from schemas.errors import Reason
from schemas.fingerprint import fingerprint
from schemas.records import SURVEY
from schemas.rows import ManifestItem, SurveyRow, manifest_table

_VERSION = 1


def taken_down_item(uri: str, kind: str, takedown: str) -> ManifestItem:
    """Return what stays listed of an item that was taken down."""
    detail = f"taken down; see takedown/receipts/{takedown}.json"
    return ManifestItem(uri=uri, kind=kind, reason=Reason.TAKEN_DOWN.value, detail=detail)


def without_blocked(items: Iterable[ManifestItem], block_list: BlockList) -> tuple[ManifestItem, ...]:
    """Return the items, with those whose addresses are blocked replaced."""
    return tuple(_replaced(item, block_list.at(item.uri)) for item in items)


def _replaced(item: ManifestItem, blocked: BlockedItem | None) -> ManifestItem:
    return item if blocked is None else taken_down_item(item.uri, item.kind, blocked.takedown)


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


def clear_manifest_rows(workspace: Workspace, takedowns: dict[str, str]) -> bool:
    """Replace the manifest rows of taken-down items, given as takedowns by address; return whether any was."""
    items = read_listed_items(workspace)
    kept = [
        taken_down_item(item.uri, item.kind, takedowns[item.uri]) if item.uri in takedowns else item for item in items
    ]
    if kept == items:
        return False
    write_manifest(workspace, manifest_table(kept), read_absent(workspace))
    return True


def unsearchable_note(block_list: BlockList) -> str:
    """Return a sentence about taken-down items whose copies are found by their hashes only, "" if there is none."""
    if not (items := block_list.unsearchable()):
        return ""
    return (
        f"{len(items):,} taken-down items, such as {items[0].uri}, have hash keys of another version: only "
        "files with equal bytes or content are recognized as theirs, re-encoded copies and excerpts are not"
    )
