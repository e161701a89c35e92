"""How the report names things: measures and reasons in words, and addresses without what they have in common."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_UNITS = {"_s": " (s)"}
_WORDS = {"nsfw": "NSFW", "gopher": "Gopher:", "fineweb": "FineWeb:"}
_SHORTEST = 8  # characters in common from which addresses are shortened


def readable(name: str) -> str:
    """Return the name of a measure or reason in words: near_duplicate -> near duplicate, duration_s -> duration (s)."""
    stem, unit = (name[:-2], _UNITS[name[-2:]]) if name[-2:] in _UNITS else (name, "")
    return " ".join(_WORDS.get(word, word) for word in stem.split("_")) + unit


def common_folder(addresses: pa.ChunkedArray) -> str:
    """Return the folder, with the slash at its end, that all addresses begin with; "" if it is short."""
    if not len(addresses):
        return ""
    ends = pc.min_max(addresses).as_py()
    first, last = ends["min"], ends["max"]  # what these two begin with, all do
    equal = next((n for n, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    folder = first[: first.rfind("/", 0, equal) + 1]
    return folder if len(folder) >= _SHORTEST else ""


def shortened(address: str, folder: str) -> str:
    """Return an address without the folder that all have in common."""
    return f"…/{address.removeprefix(folder)}" if folder and address.startswith(folder) else address
