"""What an error of the operating system says about an input: it is not there, or it cannot be read now."""

from __future__ import annotations

import errno

from schemas.errors import Reason

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def reason_of(error: OSError) -> Reason:
    """Return the reason for a rejection.

    MISSING: there is no such file. NOT_ALLOWED: its links form a loop. UNREACHABLE: permission denied, a stale handle
    of a network file system, an input/output error, and all others that may pass. UNREADABLE: an error of a library,
    which has no number: the content is damaged.
    """
    if error.errno in _NOT_THERE or isinstance(error, FileNotFoundError | NotADirectoryError):
        return Reason.MISSING
    if error.errno == errno.ELOOP:
        return Reason.NOT_ALLOWED
    return Reason.UNREADABLE if error.errno is None else Reason.UNREACHABLE
