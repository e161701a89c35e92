"""The boundary of a record: whatever the reading of one item raises becomes an InputError, which is one rejected row.

The libraries that read items (decoders, archives, file systems) raise almost any exception for damaged content, so the
boundary is not a list of exceptions. What it lets pass concerns more than the item: Longreel's own errors, a machine
without memory, disk space or file descriptors, and the end of the process. An exception that Longreel's own code raised
is a defect; the item is rejected with FAILED, and the job stores the traceback for a report.
"""

from __future__ import annotations

import asyncio
import errno
import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import InputError, LongreelError, Reason, StorageError

_PASSED = (LongreelError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)
_OUR_PACKAGES = ("schemas", "tokenizer", "pipeline", "trainer")
# Exceptions that damaged content causes even where our code calls a function of C, which has no frame of its own.
_OF_CONTENT = (
    *(OSError, EOFError, ImportError, NotImplementedError, RecursionError, UnicodeError),
    *(struct.error, zlib.error, lzma.LZMAError),
)
_OF_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_MAX_CHARS = 300


@contextmanager
def record_errors(item: str) -> Iterator[None]:
    """Raise InputError for an exception that the body raises while it reads `item`, an address for the message.

    UNREADABLE: the content, or what it is read with, is at fault; FAILED: a defect of Longreel. Raises StorageError if
    the machine has no memory, disk space or file descriptors left, or does not let files grow. Errors of Longreel,
    MemoryError and the end of the process pass unchanged.
    """
    try:
        yield
    except _PASSED:
        raise
    except BaseException as e:  # PanicException of libraries in Rust is no Exception
        if isinstance(e, OSError) and e.errno in _OF_MACHINE:
            raise StorageError(
                f"{item} cannot be read: {brief(e)}. Finished work is kept: "
                "free disk space, memory or file descriptors, and run the same command again"
            ) from e
        is_defect = not isinstance(e, _OF_CONTENT) and _is_raised_by_us(e)
        raise InputError(Reason.FAILED if is_defect else Reason.UNREADABLE, f"{item}: {brief(e)}") from e


def brief(error: BaseException) -> str:
    """Return an exception as one short line: its message, after its type where the message alone is not enough."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())[:_MAX_CHARS]
    return text if text and isinstance(error, OSError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def _is_raised_by_us(error: BaseException) -> bool:
    """Whether the innermost frame of an exception is in one of our packages."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return module.split(".")[0] in _OUR_PACKAGES
