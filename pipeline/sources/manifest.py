"""The manifest: the list of items to process.

It is read from Parquet, JSONL or CSV files (`pipeline.sources.manifest_tables`), or built from folders. In a folder the
file extension determines the kind, and files that are named like a video or image are its caption and transcript
(`pipeline.sources.sidecars`). Hidden files and folders are ignored. Links to folders are not followed; they are counted
with the skipped files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from pipeline.kinds.registry import kind_of_file, kinds
from pipeline.sources.item_defaults import ItemDefaults
from pipeline.sources.manifest_rows import UNKNOWN_KIND, absolute, parse_item
from pipeline.sources.manifest_tables import TABLES, ListedItem, table_items
from pipeline.sources.sidecars import FolderSidecars, find_sidecars
from schemas.errors import InputError, ManifestError, Reason
from schemas.rows import ManifestItem

_NO_DEFAULTS = ItemDefaults()


class Manifest(NamedTuple):
    """The items, sorted by URI, and the number of files in folders that were skipped, by extension or by reason."""

    items: tuple[ManifestItem, ...]
    skipped: Mapping[str, int]


def read_manifest(inputs: Iterable[str], defaults: ItemDefaults = _NO_DEFAULTS) -> Manifest:
    """Read folders, single media files and manifest tables into one manifest; items without a value get the default.

    An invalid row of a table is an item with a reason, and so is a file that is listed twice with different values. A
    listed file that does not exist is not an error here: the survey rejects it with a reason. Raises ManifestError for
    an input that is no folder, media file or manifest.
    """
    items: dict[str, ManifestItem] = {}
    sources: dict[str, str] = {}
    conflicts: dict[str, set[str]] = {}
    skipped: Counter[str] = Counter()
    for given in inputs:
        for source, item in _items_of(given, skipped):
            known = items.setdefault(item.uri, item)
            first = sources.setdefault(item.uri, source)
            if known != item:
                conflicts.setdefault(item.uri, {first}).add(source)
    if not items:
        supported = ", ".join(f"{name} ({' '.join(kind.endings)})" for name, kind in kinds().items())
        raise ManifestError(
            f"no item found in {', '.join(inputs) or 'an empty list of inputs'}; supported are {supported}"
        )
    items |= {uri: _conflicting(uri, places) for uri, places in conflicts.items()}
    listed = tuple(defaults.applied_to(items[uri]) for uri in sorted(items))
    return Manifest(listed, dict(sorted(skipped.items())))


def read_valid_items(inputs: Iterable[str], log: Callable[[str], object]) -> tuple[ManifestItem, ...]:
    """Return the items of `read_manifest` without those that it rejects, which are logged."""
    items = read_manifest(inputs).items
    for item in items:
        if item.reason:
            log(f"rejected ({item.reason}): {item.detail}")
    return tuple(item for item in items if not item.reason)


def _conflicting(uri: str, places: Iterable[str]) -> ManifestItem:
    """Return the rejection of a file that is listed several times; it depends on no order."""
    kind = kind_of_file(uri)
    return ManifestItem(
        uri=uri,
        kind=kind.name if kind else UNKNOWN_KIND,
        reason=Reason.INVALID_ROW.value,
        detail=f"listed with different values by {' and by '.join(sorted(places))}; list every file once",
    )


def _items_of(given: str, skipped: Counter[str]) -> Iterator[ListedItem]:
    path = Path(given)
    if path.is_dir():
        yield from (ListedItem(f"folder {given}", item) for item in _walk(path, skipped))
    elif path.suffix.lower() in TABLES:
        if not path.is_file():
            raise ManifestError(f"{given}: no such manifest")
        yield from table_items(path)
    elif "://" in given or kind_of_file(given):
        try:
            yield ListedItem(given, parse_item({"uri": given}, base=Path.cwd()))
        except InputError as e:
            raise ManifestError(f"{given}: {e}") from e
    else:
        raise ManifestError(
            f"{given}: {'unsupported extension' if path.exists() else 'no such file or folder'}; "
            f"expected a folder, a media file, or a manifest ({', '.join(TABLES)})"
        )


def _walk(folder: Path, skipped: Counter[str]) -> Iterator[ManifestItem]:
    """Yield the items of a folder and its subfolders in the order of their names."""
    for directory, subfolders, names in os.walk(folder, onerror=_raise_unlisted):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        skipped.update("linked folder" for name in subfolders if Path(directory, name).is_symlink())
        files = [Path(directory, name) for name in sorted(names) if not name.startswith(".")]
        sidecars = find_sidecars([*files, *(Path(directory, name) for name in subfolders)])
        skipped.update("unused caption or transcript" for _ in sidecars.unused)
        for path in files:
            if path in sidecars.files:
                continue
            if kind := kind_of_file(path.name):
                yield _item(path, kind.name, sidecars)
            else:
                skipped[path.suffix.lower() or path.name] += 1


def _raise_unlisted(error: OSError) -> NoReturn:
    raise ManifestError(f"the folder {error.filename} cannot be listed: {error.strerror}") from error


def _item(path: Path, kind: str, sidecars: FolderSidecars) -> ManifestItem:
    caption, transcript = sidecars.captions.get(path.name), sidecars.transcripts.get(path.name)
    return ManifestItem(
        uri=_absolute_path(path),
        kind=kind,
        caption_file=_absolute_path(caption.path) if caption else None,
        transcript=_absolute_path(transcript.path) if transcript else None,
        transcript_language=transcript.language if transcript else None,
    )


def _absolute_path(path: Path) -> str:
    """Return the absolute path as text.

    Bytes of a name that are not UTF-8 are escaped, so that the item can be listed; the survey rejects it as missing.
    """
    return absolute(os.fsencode(path).decode("utf-8", errors="backslashreplace"), Path.cwd())
