"""Known items that a survey does not find. Absence is not deletion: they are kept as they were.

An item is known if an earlier survey accepted it. It is absent if the inputs no longer list it (a file or folder is
gone, a share is not mounted, a row of a manifest was removed, fewer inputs are given), if its row is invalid, or if it
or its caption or transcript cannot be read (not found, permission denied, a network or server error). An absent item
keeps its rows, signature, tokens and documents. `--prune` removes those that are not listed or not found or that have
an invalid row, and no others: what cannot be read today may be there tomorrow.

Many items that disappear at once are more likely a mistake than an intention, so the survey refuses to continue
when more than `max_absent` of the known items have disappeared since the last run. It then changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.manifest_file import ABSENT
from pipeline.runtime.units import read_rows, unit_files
from pipeline.runtime.workspace import Workspace, usable
from schemas.counted import counted
from schemas.errors import AbsenceError, ConfigError, DatasetError, InputError, Reason
from schemas.large_tables import as_large, in_batches, taken
from schemas.printable import printable
from schemas.records import MANIFEST, SURVEY
from schemas.rows import ManifestItem, manifest_items
from schemas.runs.messages import messages

UNLISTED = "unlisted"
FINGERPRINT = "fingerprint"
_WORDS = {
    UNLISTED: "not listed by the inputs",
    "missing": "not found",
    "unreachable": "not readable now",
    "invalid_row": "listed by an invalid row",
}
_MIN_ITEMS = 1  # that may be absent, however few are known
_FROM_THE_USER = ("title", "source", "license", "split", "metadata")  # apply without the file


@dataclass(frozen=True, kw_only=True)
class AbsenceConfig:
    """What happens to items of earlier runs that are absent now."""

    prune: bool = False
    """Remove the items of earlier runs that the inputs no longer list, and reject those whose files are missing.
    Default: they are kept as they were. Items that cannot be reached are never removed."""
    max_absent: float = 0.1
    """Refuse to continue when more than this share of the known items (and more than one item) has become absent since
    the last run, for example because a share is not mounted: 0 to 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_absent <= 1:
            raise ConfigError(f"max_absent must be from 0 to 1, got {self.max_absent}")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The items of a survey: those that the inputs list, and known ones that are absent and kept."""

    items: pa.Table  # the columns of MANIFEST with 64-bit offsets, ABSENT and FINGERPRINT
    known: int = 0  # items that an earlier survey accepted

    @property
    def causes(self) -> Mapping[str, int]:
        """The number of absent items by cause: UNLISTED, or a value of Reason."""
        return _counts(self.items[ABSENT])

    def note(self) -> str:
        """Return a sentence for the report, "" if no item is absent."""
        if not (causes := self.causes):
            return ""
        return (
            f"absent and kept as they were: {sum(causes.values()):,} of {counted(self.known, 'known item')} "
            f"({_in_words(causes)}); to remove them, use --prune"
        )


def describe(cause: str) -> str:
    """Return the cause of an absence in words."""
    return _WORDS.get(cause, cause)


def known_items(workspace: Workspace) -> pa.Table:
    """Return the columns of MANIFEST of the items that an earlier survey accepted. Damaged units are left out."""
    tables = [SURVEY.empty_table().select(MANIFEST.names)]
    for path in unit_files(workspace.survey):
        try:
            tables.append(usable(read_rows(path, SURVEY, MANIFEST.names)))
        except DatasetError as e:
            messages.warning(f"survey: {e}; its items are surveyed again, and those that are absent are lost")
    return as_large(pa.concat_tables(tables))


def with_absent(
    listed: pa.Table,
    known: pa.Table,
    check: Callable[[ManifestItem], str],
    config: AbsenceConfig,
    *,
    before: pa.ChunkedArray,
) -> Found:
    """Return the items to survey: the listed ones, and the known ones that are absent and kept.

    `listed` and `known` have the columns of MANIFEST with 64-bit offsets and each address once. `check` returns the
    fingerprint of a known item that is listed, or raises InputError if it cannot be read. `before` has the addresses
    that were absent in the last run. Raises AbsenceError if too many items have become absent since.
    """
    is_known = _is_in(listed["uri"], known["uri"])
    again = _checked(listed.filter(is_known), check)
    unlisted = known["uri"].filter(pc.invert(_is_in(known["uri"], listed["uri"])))
    absent = again.select(["uri", ABSENT]).filter(pc.is_valid(again[ABSENT]))
    causes = pa.repeat(pa.scalar(UNLISTED, pa.large_string()), len(unlisted))
    absent = pa.concat_tables([absent, pa.table([unlisted, causes], absent.schema)])
    if not config.prune:
        _require_few(absent, before, len(known), config.max_absent)
    kept = absent if not config.prune else absent.filter(pc.equal(absent[ABSENT], Reason.UNREACHABLE.value))
    new = listed.filter(pc.invert(is_known))
    there = again.filter(pc.invert(_is_in(again["uri"], kept["uri"])))
    as_known = _as_known(kept, known, listed)
    new = new.filter(pc.invert(_is_in(new["uri"], as_known["caption_file"])))  # of owners that are not there
    there = there.set_column(there.schema.get_field_index(ABSENT), ABSENT, pa.nulls(len(there), pa.large_string()))
    found = pa.concat_tables([new, there, as_known], promote_options="default")
    return Found(items=found, known=len(known))


def _is_in(names: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(names, others.combine_chunks())


def _checked(items: pa.Table, check: Callable[[ManifestItem], str]) -> pa.Table:
    """Return items with the cause of an absence and the fingerprint, each null if there is none."""
    batches = []
    for batch in in_batches(items):
        results = [_check(item, check) for item in manifest_items(batch)]
        for name, place in ((ABSENT, 0), (FINGERPRINT, 1)):
            batch = batch.append_column(name, pa.array([result[place] for result in results], pa.large_string()))
        batches.append(batch)
    columns = [pa.field(name, pa.large_string()) for name in (ABSENT, FINGERPRINT)]
    return pa.concat_tables([pa.schema([*items.schema, *columns]).empty_table(), *batches])


def _check(item: ManifestItem, check: Callable[[ManifestItem], str]) -> tuple[str | None, str | None]:
    """Return the cause of an absence and the fingerprint of an item."""
    if item.reason:  # found when it was listed
        return (item.reason if item.reason == Reason.INVALID_ROW else None), None
    try:
        return None, check(item)
    except InputError as e:
        return (e.reason.value if e.reason in (Reason.MISSING, Reason.UNREACHABLE) else None), None


def _as_known(absent: pa.Table, known: pa.Table, listed: pa.Table) -> pa.Table:
    """Return absent items as they were surveyed, with what the inputs say of them now and no file has to confirm."""
    items = taken(known, pc.index_in(absent["uri"], known["uri"].combine_chunks()).combine_chunks())
    now = taken(listed, pc.index_in(absent["uri"], listed["uri"].combine_chunks()).combine_chunks())
    is_listed = pc.and_(pc.is_valid(now["uri"]), pc.is_null(now["reason"]))
    for name in _FROM_THE_USER:
        at = items.schema.get_field_index(name)
        items = items.set_column(at, items.schema.field(at), pc.if_else(is_listed, now[name], items[name]))
    return items.append_column(ABSENT, absent[ABSENT])


def _require_few(absent: pa.Table, before: pa.ChunkedArray, known: int, share: float) -> None:
    new = absent.filter(pc.invert(_is_in(absent["uri"], before.cast(pa.large_string()))))
    if len(new) <= max(int(share * known), _MIN_ITEMS):
        return
    example = printable(pc.min(new["uri"]).as_py())
    raise AbsenceError(
        f"{len(new):,} of {known:,} known items are absent ({_in_words(_counts(new[ABSENT]))}), for example {example}. "
        f"The limit is {share:.0%} (--max-absent), and nothing was changed. If a disk, share or server is not "
        "available, run the command again when it is. To continue and keep these items as they were, use "
        "--max-absent 1. To remove the items that are not listed or not found, use --prune."
    )


def _counts(causes: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(causes.drop_null()).to_pylist()}


def _in_words(causes: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {describe(cause)}" for cause, n in sorted(causes.items()))
