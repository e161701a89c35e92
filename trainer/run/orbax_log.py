"""Keeps tracebacks of Orbax off the terminal whose errors are reported once, by the caller.

Orbax writes in background threads. It logs what they raise, with a traceback in each, and raises it again in the
next call of `save` or `wait_until_finished`. A full disk would print hundreds of lines before our message.
"""

from __future__ import annotations

import logging

_RAISED_LATER = {"future", "async_checkpointer", "checkpoint_manager"}  # modules of Orbax


def hide_errors_raised_later() -> None:
    """Drop the records of these errors from now on."""
    logger = logging.getLogger("absl")
    if _is_other not in logger.filters:
        logger.addFilter(_is_other)


def _is_other(record: logging.LogRecord) -> bool:
    is_raised_later = record.exc_info is not None and record.module in _RAISED_LATER and "orbax" in record.pathname
    return not is_raised_later
