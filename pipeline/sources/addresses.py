"""Addresses of files as text: the absolute path, or for a name that is not valid UTF-8 a file URL.

Paths of Linux are bytes, tables hold UTF-8. In the file URL every byte that is not plain ASCII is percent-encoded, so
two names have two addresses, and neither is that of a file whose name is valid. Such files are listed and rejected
(`bad_name`), because decoders and tables of other programs cannot hold their names.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from schemas.storage.location import Location

_PREFIX = "file://"
BAD_NAME = "the file name is not valid UTF-8; rename the file"


def address_of(path: str | Path) -> str:
    """Return the address of a path, made absolute; links are not resolved. It is always valid UTF-8."""
    text = os.path.abspath(path)  # noqa: PTH100 - keeps symlinks
    return text if is_storable(text) else _PREFIX + quote_from_bytes(_bytes(text))


def address_in(folder: Path | Location, path: str) -> str:
    """Return the address of a path in a folder, or of an absolute path, which is a local one.

    Raises ValueError if the path leads out of the bucket that `folder` is in.
    """
    if isinstance(folder, Path):
        return address_of(folder / path)
    if path.startswith("/"):
        return address_of(path)
    key = posixpath.normpath(posixpath.join(folder.key, path))
    if key == ".." or key.startswith("../"):
        raise ValueError(f"{path} leads out of the bucket {folder.bucket}")
    return str(replace(folder, key=key))


def is_bad_name(address: str | None) -> bool:
    """Whether an address is that of a file whose name is not valid UTF-8."""
    return address is not None and address.startswith(_PREFIX) and not is_storable(_path(address))


def is_storable(text: str) -> bool:
    """Whether a text is valid UTF-8: without unpaired surrogates, by which Python represents other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def typed_name(name: str) -> str:
    """Return a name that a user typed as it is part of an address."""
    return name if is_storable(name) else quote_from_bytes(_bytes(name))


def _path(address: str) -> str:
    return os.fsdecode(unquote_to_bytes(address.removeprefix(_PREFIX)))


def _bytes(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # surrogates that stand for no byte, which JSON can contain
        return path.encode("utf-8", "surrogatepass")
