"""Symbolic links of inputs: by default, those that lead out of the given folders are not followed.

A path is inside if the file that it leads to, through links of files and folders, chains of links and `..`, is in one
of the folders that the user gave. A manifest counts as given, so its rows may name any path; a link may lead from there
to the folder of the manifest, the folder that the row names, or a given folder.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from pipeline.sources.access import AccessConfig
from pipeline.sources.text_tables import parse_row_uri
from schemas.errors import Reason
from schemas.rows import ManifestItem


class Roots:
    """The folders that links may lead to; anywhere if `follow`."""

    def __init__(self, folders: Iterable[str | Path], *, follow: bool) -> None:
        self.follow = follow
        self._real = functools.lru_cache(maxsize=4096)(os.path.realpath)
        self._folders = tuple(os.path.realpath(folder) for folder in folders if Path(folder).is_dir())

    def refusal(self, path: Path, folder: Path) -> str | None:
        """Return why a file must not be read, None if it may be. Its links may lead to `folder` as well."""
        try:
            found = self._resolved(path)
        except OSError as e:
            return "its symbolic links form a loop" if e.errno == errno.ELOOP else None
        if self.follow or any(_is_in(found, root) for root in (str(self._real(folder)), *self._folders)):
            return None
        return f"a symbolic link leads to {found}, outside of the given folders; --follow-links allows it"

    def _resolved(self, path: Path) -> str:
        """Return where a path leads. Raises OSError for a loop; a part that does not exist is taken as it is."""
        if not path.is_symlink():
            return f"{self._real(path.parent)}/{path.name}"
        try:
            return os.path.realpath(path, strict=True)
        except FileNotFoundError:
            return os.path.realpath(path)


@dataclass(frozen=True, kw_only=True)
class GivenAccess(AccessConfig):
    """The access of a command, with the places that its user gave, to compare them with the files that are opened."""

    given: tuple[str, ...]  # inputs and folders of manifests, absolute
    real: tuple[str, ...]  # where the folders among them and those of manifests led when the command began

    def refusal(self, path: str, found: str) -> str | None:
        """Return why a file must not be read that was opened as `path` and is `found`; None if it may be.

        A file in a given folder is in one of them. Another one was named by a row of a manifest, so it may be in the
        folder that the row names as well.
        """
        if self.follow_links or path in self.given or any(_is_in(found, root) for root in self.real):
            return None
        is_in_folder = any(_is_in(path, folder) for folder in self.given)
        if not is_in_folder and _is_in(found, os.path.realpath(Path(path).parent)):
            return None
        return f"it leads to {found}, outside of the given folders, and did not when it was listed"


def with_given(access: AccessConfig, inputs: Sequence[str | Path]) -> GivenAccess:
    """Return the access with the inputs of a command that are local."""
    local = [os.path.abspath(given) for given in inputs if "://" not in str(given)]  # noqa: PTH100 - keeps symlinks
    folders = [place if Path(place).is_dir() else str(Path(place).parent) for place in local]
    values = {field.name: getattr(access, field.name) for field in fields(AccessConfig)}
    return GivenAccess(given=tuple(local), real=tuple(map(os.path.realpath, folders)), **values)


def checked_row(item: ManifestItem, roots: Roots, manifest: Path) -> ManifestItem:
    """Return the item of a row of a manifest, rejected if a link leads out; files of the manifest itself are given."""
    base = Path(os.path.abspath(manifest))  # noqa: PTH100 - keeps symlinks
    for path in _local_files(item):
        if path != base:
            item = rejected_by(
                item, path, roots.refusal(path, base.parent if base.parent in path.parents else path.parent)
            )
    return item


def checked_file(item: ManifestItem, files: Iterable[Path | None], roots: Roots, folder: Path) -> ManifestItem:
    """Return the item of a folder, rejected if one of its files is a link that leads out."""
    for path in files:
        if path is not None and path.is_symlink():  # links to folders are not followed, or allowed
            item = rejected_by(item, path, roots.refusal(path, folder))
    return item


def rejected_by(item: ManifestItem, path: Path, refusal: str | None) -> ManifestItem:
    """Return the item with the refusal of one of its files as its reason, if it has no reason yet."""
    if refusal is None or item.reason:
        return item
    return replace(item, reason=Reason.NOT_ALLOWED.value, detail=f"{path}: {refusal}")


def _local_files(item: ManifestItem) -> Iterator[Path]:
    for uri in (item.uri, item.caption_file, item.sidecar):
        if uri and "://" not in uri and "\0" not in uri:
            row = parse_row_uri(uri)
            yield Path(row.table if row else uri)


def _is_in(path: str, root: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")
