"""The manifest: the list of items to process.

It is read from Parquet, JSONL or CSV files (`pipeline.sources.manifest_tables`), or built from folders, here from those
of the file system and in `pipeline.sources.bucket_folders` from those of buckets. In a folder the
file extension determines the kind, and files that are named like a video or image are its caption and transcript
(`pipeline.sources.sidecars`). Hidden files and folders are ignored. Links to folders are not followed by default; they
are counted with the skipped files. Links to files are, within the given folders (`pipeline.sources.links`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, NoReturn

import fsspec
import pyarrow as pa

from pipeline.kinds.registry import kind_of_file, kinds
from pipeline.sources.access import SCHEMES, STRICT, AccessConfig, schemes_of
from pipeline.sources.addresses import BAD_NAME, address_of, is_bad_name, is_storable
from pipeline.sources.bucket_folders import bucket_items
from pipeline.sources.credentials import require_no_credentials
from pipeline.sources.given_buckets import GivenBuckets, is_in_bucket
from pipeline.sources.item_defaults import ItemDefaults
from pipeline.sources.links import Roots, checked_file, checked_row
from pipeline.sources.listed_items import ListedItem, items_once
from pipeline.sources.manifest_rows import UNKNOWN_KIND, parse_item
from pipeline.sources.manifest_tables import TABLES, table_items
from pipeline.sources.sidecars import FolderSidecars, find_sidecars
from schemas.errors import InputError, ManifestError, Reason
from schemas.printable import printable
from schemas.rows import ManifestItem, manifest_items
from schemas.storage.location import Location

_NO_DEFAULTS = ItemDefaults()


class Manifest(NamedTuple):
    """The items, sorted by URI, and the number of files in folders that were skipped, by extension or by reason."""

    table: pa.Table  # of MANIFEST, with 64-bit offsets
    skipped: Mapping[str, int]

    @property
    def items(self) -> tuple[ManifestItem, ...]:
        """The items as objects, for lists of a size for which that is no matter."""
        return tuple(manifest_items(self.table))


def read_manifest(
    inputs: Sequence[str], defaults: ItemDefaults = _NO_DEFAULTS, access: AccessConfig = STRICT
) -> Manifest:
    """Read folders, single media files and manifest tables into one manifest; items without a value get the default.

    An invalid row of a table is an item with a reason, and so is a file that is listed twice with different values. A
    listed file that does not exist is not an error here: the survey rejects it with a reason. Raises ManifestError for
    an input that is no folder, media file or manifest.
    """
    require_no_credentials(inputs)
    skipped: Counter[str] = Counter()
    rules = _Rules(Roots(inputs, follow=access.follow_links), GivenBuckets(inputs, access))
    languages = defaults.languages_of_transcripts
    listed = chain.from_iterable(_items_of(given, rules, skipped, languages) for given in inputs)
    table = items_once(listed, _conflicting)
    if not len(table):
        supported = ", ".join(f"{name} ({' '.join(kind.endings)})" for name, kind in kinds().items())
        raise ManifestError(
            f"no item found in {', '.join(inputs) or 'an empty list of inputs'}; supported are {supported}"
        )
    return Manifest(defaults.applied_to(table), dict(sorted(skipped.items())))


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
        detail=printable(f"listed with different values by {' and by '.join(sorted(places))}; list every file once"),
    )


class _Rules(NamedTuple):
    """What items may name."""

    roots: Roots
    buckets: GivenBuckets


def _items_of(given: str, rules: _Rules, skipped: Counter[str], languages: Sequence[str]) -> Iterator[ListedItem]:
    path = Path(given)
    if is_in_bucket(given):
        yield from _items_in_bucket(given, rules, skipped, languages)
    elif path.is_dir():
        yield from (ListedItem(f"folder {given}", item) for item in _walk(path, rules.roots, skipped, languages))
    elif path.suffix.lower() in TABLES and "://" not in given:
        if not path.is_file():
            raise ManifestError(f"{given}: no such manifest")
        if not is_storable(given):
            raise ManifestError(f"{given}: {BAD_NAME}")
        for source, item in table_items(path):
            checked = checked_row(item, rules.roots, path)
            yield ListedItem(source, rules.buckets.checked(checked, is_remote=False))
    elif "://" in given or kind_of_file(given):
        yield _single(given)
    else:
        raise ManifestError(
            f"{given}: {'unsupported extension' if path.exists() else 'no such file or folder'}; "
            f"expected a folder, a media file, or a manifest ({', '.join(TABLES)})"
        )


def _items_in_bucket(
    given: str, rules: _Rules, skipped: Counter[str], languages: Sequence[str]
) -> Iterator[ListedItem]:
    location = Location.parse(given)
    if location.suffix.lower() in TABLES:
        for source, item in table_items(location):
            yield ListedItem(source, rules.buckets.checked(item, is_remote=True))
    elif kind_of_file(location.name) and not given.endswith("/"):
        yield _single(str(location))
    else:
        yield from (ListedItem(f"folder {given}", item) for item in bucket_items(location, skipped, languages))


def _single(given: str) -> ListedItem:
    """Return the item of a file or URL. Raises ManifestError."""
    scheme = schemes_of(given)[0]
    if "://" in given and scheme not in SCHEMES and scheme not in fsspec.available_protocols():
        known = ", ".join(SCHEMES)
        raise ManifestError(f"{given}: unknown scheme {scheme!r}; known are {known}, and those of --allow-schemes")
    try:
        return ListedItem(given, parse_item({"uri": given}, base=Path.cwd()))
    except InputError as e:
        raise ManifestError(f"{given}: {e}") from e


def _walk(folder: Path, roots: Roots, skipped: Counter[str], languages: Sequence[str]) -> Iterator[ManifestItem]:
    """Yield the items of a folder and its subfolders in the order of their names."""
    for directory, subfolders, names in _folders(folder, roots, skipped):
        files = sorted(name for name in names if not name.startswith("."))
        sidecars = find_sidecars([*files, *subfolders], partial(_size, directory), languages)
        skipped.update("unused caption or transcript" for _ in sidecars.unused)
        for name in files:
            if name in sidecars.files:
                continue
            if kind := kind_of_file(name):
                yield _item(Path(directory), name, kind.name, sidecars, roots, folder)
            else:
                skipped[Path(name).suffix.lower() or name] += 1


def _size(directory: str, name: str) -> int | None:
    try:
        return Path(directory, name).stat().st_size
    except OSError:
        return None


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


def _item(directory: Path, name: str, kind: str, sidecars: FolderSidecars, roots: Roots, folder: Path) -> ManifestItem:
    path = directory / name
    caption, transcript = sidecars.captions.get(name), sidecars.transcripts.get(name)
    files = (path, *(directory / sidecar.file if sidecar else None for sidecar in (caption, transcript)))
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
