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

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from pipeline.runtime.progress import console
from pipeline.runtime.units import read_rows, unit_files
from pipeline.runtime.workspace import Workspace, usable
from schemas.errors import AbsenceError, ConfigError, DatasetError, InputError, Reason
from schemas.printable import printable
from schemas.records import MANIFEST, SURVEY
from schemas.rows import ManifestItem, manifest_items

UNLISTED = "unlisted"
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

    items: tuple[ManifestItem, ...]
    absent: Mapping[str, str] = field(default_factory=dict)  # cause by address: UNLISTED, or a value of Reason
    known: int = 0  # items that an earlier survey accepted

    def note(self) -> str:
        """Return a sentence for the report, "" if no item is absent."""
        if not self.absent:
            return ""
        return (
            f"{len(self.absent):,} of {self.known:,} known items are absent and kept as they were "
            f"({_causes(self.absent)}); to remove them, use --prune"
        )


def describe(cause: str) -> str:
    """Return the cause of an absence in words."""
    return _WORDS.get(cause, cause)


def known_items(workspace: Workspace) -> dict[str, ManifestItem]:
    """Return the items that an earlier survey accepted, by address. Damaged units are left out."""
    tables = [SURVEY.empty_table().select(MANIFEST.names)]
    for path in unit_files(workspace.survey):
        try:
            tables.append(read_rows(path, SURVEY, MANIFEST.names))
        except DatasetError as e:
            console.print(f"survey: {e}; its items are surveyed again, and those that are absent are lost")
    return {item.uri: item for item in manifest_items(usable(pa.concat_tables(tables)))}


def with_absent(
    listed: Iterable[ManifestItem],
    known: Mapping[str, ManifestItem],
    check: Callable[[ManifestItem], object],
    config: AbsenceConfig,
    *,
    before: Iterable[str],
) -> Found:
    """Return the items to survey: the listed ones, and the known ones that are absent and kept.

    `check` raises InputError for an item that cannot be read. `before` has the addresses that were absent in the last
    run. Raises AbsenceError if too many items have become absent since.
    """
    items = {item.uri: item for item in listed}
    causes = {uri: cause for uri, item in items.items() if uri in known and (cause := _cause(item, check))}
    causes |= dict.fromkeys(sorted(known.keys() - items.keys()), UNLISTED)
    if not config.prune:
        _require_few(causes, before, len(known), config.max_absent)
    kept = {uri: cause for uri, cause in causes.items() if not config.prune or cause == Reason.UNREACHABLE}
    for uri in kept:
        items[uri] = _as_known(known[uri], items.get(uri))
    for caption in _captions_of(kept, known, items):
        del items[caption]
    return Found(items=tuple(items[uri] for uri in sorted(items)), absent=kept, known=len(known))


def _cause(item: ManifestItem, check: Callable[[ManifestItem], object]) -> str | None:
    if item.reason:  # found when it was listed
        return item.reason if item.reason == Reason.INVALID_ROW else None
    try:
        check(item)
    except InputError as e:
        return e.reason.value if e.reason in (Reason.MISSING, Reason.UNREACHABLE) else None
    return None


def _as_known(known: ManifestItem, listed: ManifestItem | None) -> ManifestItem:
    """Return an absent item as it was surveyed, with what the inputs say of it now and no file has to confirm."""
    if listed is None or listed.reason:
        return known
    return replace(known, **{name: getattr(listed, name) for name in _FROM_THE_USER})


def _require_few(absent: Mapping[str, str], before: Iterable[str], known: int, share: float) -> None:
    new = {uri: absent[uri] for uri in absent.keys() - set(before)}
    if len(new) <= max(int(share * known), _MIN_ITEMS):
        return
    example = printable(min(new))
    raise AbsenceError(
        f"{len(new):,} of {known:,} known items are absent ({_causes(new)}), for example {example}. The limit is "
        f"{share:.0%} (--max-absent), and nothing was changed. If a disk, share or server is not available, run the "
        "command again when it is. To continue and keep these items as they were, use --max-absent 1. To remove the "
        "items that are not listed or not found, use --prune."
    )


def _causes(absent: Mapping[str, str]) -> str:
    return ", ".join(f"{n:,} {describe(cause)}" for cause, n in sorted(Counter(absent.values()).items()))


def _captions_of(
    absent: Iterable[str], known: Mapping[str, ManifestItem], items: Mapping[str, ManifestItem]
) -> list[str]:
    """Return the captions of absent videos and images that are listed as books, because their owner is not there."""
    captions = {known[uri].caption_file for uri in absent}
    return [uri for uri in items if uri in captions and uri not in known]
