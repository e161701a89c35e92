"""The manifest: the list of items to process.

It is read from Parquet, JSONL or CSV files (`pipeline.sources.manifest_tables`), or built from folders. In a folder the
file extension determines the kind, and files that are named like a video or image are its caption and transcript
(`pipeline.sources.sidecars`). Hidden files and folders are ignored. Links to folders are not followed by default; they
are counted with the skipped files. Links to files are, within the given folders (`pipeline.sources.links`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, NoReturn

from pipeline.kinds.registry import kind_of_file, kinds
from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.addresses import BAD_NAME, address_of, is_bad_name, is_storable
from pipeline.sources.item_defaults import ItemDefaults
from pipeline.sources.links import Roots, checked_file, checked_row
from pipeline.sources.manifest_rows import UNKNOWN_KIND, parse_item
from pipeline.sources.manifest_tables import TABLES, ListedItem, table_items
from pipeline.sources.sidecars import FolderSidecars, find_sidecars
from schemas.errors import InputError, ManifestError, Reason
from schemas.rows import ManifestItem

_NO_DEFAULTS = ItemDefaults()


class Manifest(NamedTuple):
    """The items, sorted by URI, and the number of files in folders that were skipped, by extension or by reason."""

    items: tuple[ManifestItem, ...]
    skipped: Mapping[str, int]


def read_manifest(
    inputs: Sequence[str], defaults: ItemDefaults = _NO_DEFAULTS, access: AccessConfig = STRICT
) -> Manifest:
    """Read folders, single media files and manifest tables into one manifest; items without a value get the default.

    An invalid row of a table is an item with a reason, and so is a file that is listed twice with different values. A
    listed file that does not exist is not an error here: the survey rejects it with a reason. Raises ManifestError for
    an input that is no folder, media file or manifest.
    """
    items: dict[str, ManifestItem] = {}
    sources: dict[str, str] = {}
    conflicts: dict[str, set[str]] = {}
    skipped: Counter[str] = Counter()
    roots = Roots(inputs, follow=access.follow_links)
    for given in inputs:
        for source, item in _items_of(given, roots, skipped, defaults.languages_of_transcripts):
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


def read_valid_items(
    inputs: Sequence[str], log: Callable[[str], object], access: AccessConfig = STRICT
) -> tuple[ManifestItem, ...]:
    """Return the items of `read_manifest` without those that it rejects, which are logged."""
    items = read_manifest(inputs, access=access).items
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


def _items_of(given: str, roots: Roots, skipped: Counter[str], languages: Sequence[str]) -> Iterator[ListedItem]:
    path = Path(given)
    if path.is_dir():
        yield from (ListedItem(f"folder {given}", item) for item in _walk(path, roots, skipped, languages))
    elif path.suffix.lower() in TABLES:
        if not path.is_file():
            raise ManifestError(f"{given}: no such manifest")
        if not is_storable(given):
            raise ManifestError(f"{given}: {BAD_NAME}")
        yield from (ListedItem(source, checked_row(item, roots, path)) for source, item in table_items(path))
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


def _walk(folder: Path, roots: Roots, skipped: Counter[str], languages: Sequence[str]) -> Iterator[ManifestItem]:
    """Yield the items of a folder and its subfolders in the order of their names."""
    for directory, subfolders, names in _folders(folder, roots, skipped):
        files = [Path(directory, name) for name in sorted(names) if not name.startswith(".")]
        sidecars = find_sidecars([*files, *(Path(directory, name) for name in subfolders)], languages)
        skipped.update("unused caption or transcript" for _ in sidecars.unused)
        for path in files:
            if path in sidecars.files:
                continue
            if kind := kind_of_file(path.name):
                yield _item(path, kind.name, sidecars, roots, folder)
            else:
                skipped[path.suffix.lower() or path.name] += 1


def _folders(folder: Path, roots: Roots, skipped: Counter[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder with its subfolders and files; a folder that links lead to twice is walked once."""
    seen: set[tuple[int, int]] = set()
    for directory, subfolders, names in os.walk(folder, onerror=_raise_unlisted, followlinks=roots.follow):
        status = Path(directory).stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            skipped["folder that is linked several times"] += 1
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if not roots.follow:
            skipped.update("linked folder" for name in subfolders if Path(directory, name).is_symlink())
        yield directory, subfolders, names


def _raise_unlisted(error: OSError) -> NoReturn:
    raise ManifestError(f"the folder {error.filename} cannot be listed: {error.strerror}") from error


def _item(path: Path, kind: str, sidecars: FolderSidecars, roots: Roots, folder: Path) -> ManifestItem:
    caption, transcript = sidecars.captions.get(path.name), sidecars.transcripts.get(path.name)
    files = (path, caption.path if caption else None, transcript.path if transcript else None)
    uri = address_of(path)
    caption_file, transcript_file = (address_of(file) if file else None for file in files[1:])
    item = ManifestItem(
        uri=uri,
        kind=kind,
        caption_file=caption_file,
        transcript=transcript_file,
        transcript_language=transcript.language if transcript else None,
    )
    if bad := next((address for address in (uri, caption_file, transcript_file) if is_bad_name(address)), None):
        return replace(item, reason=Reason.BAD_NAME.value, detail=f"{bad}: {BAD_NAME}")
    return checked_file(item, files, roots, folder)
