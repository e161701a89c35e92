"""Reads captions from files in UTF-8, UTF-16 or UTF-32."""

from __future__ import annotations

from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.inputs import local_file
from pipeline.text.encoding import read_unicode
from schemas.errors import InputError, Reason

_MAX_BYTES = 1 << 20


def read_caption(uri: str, access: AccessConfig = STRICT) -> str:
    """Return the text of a caption file, a path or a URI; "" if it is empty.

    Raises InputError: UNREACHABLE if it cannot be read now, BAD_CAPTION if it does not exist, is not text, or has more
    than 1 MiB.
    """
    try:
        with local_file(uri, max_bytes=_MAX_BYTES, access=access) as path:
            return read_unicode(path, max_bytes=_MAX_BYTES).text.strip()
    except InputError as e:
        if e.reason is Reason.EMPTY:
            return ""
        reason = e.reason if e.reason in (Reason.UNREACHABLE, Reason.NOT_ALLOWED) else Reason.BAD_CAPTION
        raise InputError(reason, f"caption {uri}: {e}") from e
