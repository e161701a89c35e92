"""Where generated ids end: at an id, or at a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trainer.inference.requests import FinishReason, StopConditions

_MARGIN = 8  # ids whose text may be incomplete at the start of a window: bytes of one character


class Ending(NamedTuple):
    """The ids that are part of the reply, and why it ends there (None: it continues)."""

    ids: list[int]
    finished: FinishReason | None
    stopped_by: int | str | None


def ending(before: Sequence[int], new: Sequence[int], stop: StopConditions, *, remaining: int) -> Ending:
    """Return what of `new` belongs to a reply that has `before` and may get `remaining` ids more."""
    for n, token in enumerate(new):
        if token in stop.ids:
            return Ending(list(new[:n]), "stop", token)
        if text := _completed([*before, *new[: n + 1]], stop):
            return Ending(list(new[: n + 1]), "stop", text)
    return Ending(list(new), "length" if len(new) >= remaining else None, None)


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return `text` up to the first of `stops` in it."""
    found = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return text[: min(found)] if found else text


def _completed(ids: Sequence[int], stop: StopConditions) -> str | None:
    """Return the stop text that the last of `ids` completes."""
    if stop.decode is None or not stop.texts:
        return None
    # An id is at least one byte of text, so a window of this many ids holds every stop text that ends in it.
    window = max(len(text.encode()) for text in stop.texts) + _MARGIN
    text = stop.decode(ids[-window:])
    return next((stopped for stopped in stop.texts if stopped in text), None)
