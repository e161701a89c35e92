"""The items of a folder in a bucket, found by the same rules as those of a folder in the file system.

All objects below the folder are listed at once, with their sizes; none is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pipeline.kinds.registry import kind_of_file
from pipeline.sources.sidecars import FolderSidecars, find_sidecars
from schemas.rows import ManifestItem
from schemas.storage.location import Location


def bucket_items(folder: Location, skipped: Counter[str], languages: Sequence[str]) -> Iterator[ManifestItem]:
    """Yield the items below a folder, and count in `skipped` the files that are none.

    Hidden files and folders are ignored. Raises StorageError if the bucket cannot be listed.
    """
    folders = _folders(folder)
    for place in sorted(folders):
        sizes = folders[place]
        sidecars = find_sidecars(list(sizes), sizes.__getitem__, languages)
        skipped.update("unused caption or transcript" for _ in sidecars.unused)
        for name in sizes:
            if name in sidecars.files:
                continue
            if kind := kind_of_file(name):
                yield _item(place, name, kind.name, sidecars)
            else:
                skipped[(place / name).suffix.lower() or name] += 1


def _folders(folder: Location) -> Mapping[Location, dict[str, int]]:
    """Return the sizes of the objects by name, by folder."""
    folders: dict[Location, dict[str, int]] = {}
    for location, size in folder.sizes():
        if not any(part.startswith(".") for part in location.relative_to(folder).split("/")):
            folders.setdefault(location.parent, {})[location.name] = size
    return folders


def _item(folder: Location, name: str, kind: str, sidecars: FolderSidecars) -> ManifestItem:
    caption, transcript = sidecars.captions.get(name), sidecars.transcripts.get(name)
    return ManifestItem(
        uri=str(folder / name),
        kind=kind,
        caption_file=str(folder / caption.file) if caption else None,
        transcript=str(folder / transcript.file) if transcript else None,
        transcript_language=transcript.language if transcript else None,
    )
