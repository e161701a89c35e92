"""Opens a local input once: what is checked is what is read, whatever takes its name meanwhile.

A path can be replaced by a link to another file between two uses. So the file is opened, the place that the descriptor
leads to is compared with the folders that the user gave, and readers get a path to the descriptor. Where the system has
no /proc, they get the path itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.sources.access import AccessConfig
from pipeline.sources.links import GivenAccess
from pipeline.sources.os_errors import reason_of
from schemas.errors import InputError, Reason
from schemas.storage.regular import NotRegular, regular_descriptor

_DESCRIPTORS = "/proc/self/fd"


@contextmanager
def pinned_file(uri: str, access: AccessConfig) -> Iterator[Path]:
    """Yield a path to the file that a local path names now, with the same suffix.

    Raises InputError NOT_ALLOWED if it is outside of the folders that `access` gives, and as `stat` does.
    """
    try:
        descriptor = regular_descriptor(uri)
    except NotRegular as e:
        raise InputError(Reason.UNREADABLE, str(e)) from e
    except OSError as e:
        raise InputError(reason_of(e), f"{uri}: {e.strerror}") from e
    try:
        with _path_to(descriptor, uri, access) as path:
            yield path
    finally:
        os.close(descriptor)


@contextmanager
def _path_to(descriptor: int, uri: str, access: AccessConfig) -> Iterator[Path]:
    if not Path(_DESCRIPTORS).is_dir():
        yield Path(uri)
        return
    if isinstance(access, GivenAccess) and (
        refusal := access.refusal(uri, str(Path(_DESCRIPTORS, str(descriptor)).readlink()))
    ):
        raise InputError(Reason.NOT_ALLOWED, f"{uri}: {refusal}")
    with tempfile.TemporaryDirectory(prefix="longreel-") as folder:
        link = Path(folder, "input" + Path(uri).suffix)
        link.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")  # children read it, too
        yield link
