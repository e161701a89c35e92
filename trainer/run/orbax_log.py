"""Keeps tracebacks of Orbax off the terminal whose errors are reported once, by the caller.

Orbax writes in background threads. It logs what they raise, with a traceback in each, and raises it again in the
next call of `save` or `wait_until_finished`. Of several writes that fail at once, asyncio logs the others, or
TensorStore reports them to an event loop that has ended by then. A full disk would print hundreds of lines before our
message.
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import PurePath

_RAISED_LATER = {"future", "async_checkpointer", "checkpoint_manager"}  # modules of Orbax that catch such errors


def hide_errors_raised_later() -> None:
    """Drop the records of these errors from now on."""
    for name in ("absl", "asyncio"):
        logger = logging.getLogger(name)
        if _is_other not in logger.filters:
            logger.addFilter(_is_other)
    if sys.unraisablehook is not _show_unless_late:
        global _show
        _show, sys.unraisablehook = sys.unraisablehook, _show_unless_late


_show = sys.unraisablehook  # that was there before


def _show_unless_late(what: sys.UnraisableHookArgs) -> None:
    """Print an exception that nothing can catch, unless native code had a result for an event loop that has ended."""
    first = what.exc_traceback.tb_frame.f_code.co_name if what.exc_traceback is not None else ""
    if not (what.exc_type is RuntimeError and first == "call_soon_threadsafe"):
        _show(what)


def _is_other(record: logging.LogRecord) -> bool:
    # The record itself does not tell who wrote it: in some processes its path is that of absl.
    trace = record.exc_info[2] if record.exc_info else None
    files = [PurePath(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(trace)]
    if record.name == "asyncio":
        return not any(map(_is_orbax, files))
    return not (files and _is_orbax(files[0]) and files[0].stem in _RAISED_LATER)


def _is_orbax(file: PurePath) -> bool:
    return "orbax" in file.parts
