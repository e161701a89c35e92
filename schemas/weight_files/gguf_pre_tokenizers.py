"""The pre-tokenizers of byte-level BPE that llama.cpp has (`tokenizer.ggml.pre`), as tokenizer.json describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_FIRST = r"[^\r\n\p{L}\p{N}]?"
_CASED_REST = _REST.replace(r"[\r\n]*", r"[\r\n/]*")


def _cased(suffix: str, digits: str) -> str:
    words = rf"{_FIRST}[{_UPPER}]*[{_LOWER}]+{suffix}|{_FIRST}[{_UPPER}]+[{_LOWER}]*{suffix}"
    return f"{words}|{digits}|{_CASED_REST}"


# The patterns of the published tokenizer.json files.
_PATTERNS = {
    "llama-bpe": rf"{_CONTRACTIONS}|{_FIRST}\p{{L}}+|\p{{N}}{{1,3}}|{_REST}",
    "qwen2": rf"{_CONTRACTIONS}|{_FIRST}\p{{L}}+|\p{{N}}|{_REST}",
    "tekken": _cased("", r"\p{N}"),
    "gpt-4o": _cased(f"{_CONTRACTIONS}?", r"\p{N}{1,3}"),
}
_ALIASES = {"llama3": "llama-bpe", "llama-v3": "llama-bpe", "olmo": "gpt-2", "phi-2": "gpt-2", "mpt": "gpt-2"}
_WHOLE_TOKENS = ("llama-bpe", "tekken")  # a word that is a token is not built by merges
KNOWN = ("gpt-2", "smollm", *_PATTERNS)
NAMES = tuple(sorted((*KNOWN, *_ALIASES)))

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def resolved(name: str) -> str:
    """Return the name that an alias stands for."""
    return _ALIASES.get(name, name)


def splitters(name: str) -> list[dict[str, Any]]:
    """Return the pre-tokenizers of a tokenizer.json."""
    words = BYTE_LEVEL | {"use_regex": name not in _PATTERNS}
    if name == "smollm":
        return [{"type": "Digits", "individual_digits": True}, words]
    if name not in _PATTERNS:
        return [words]
    pattern = {"Regex": _PATTERNS[name]}
    return [{"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}, words]


def normalizer(name: str) -> dict[str, Any] | None:
    """Return the normalizer of a tokenizer.json."""
    return {"type": "NFC"} if name == "qwen2" else None


def keeps_whole_tokens(name: str) -> bool:
    """Whether a word that is a token is not built by merges (`ignore_merges` of a tokenizer.json)."""
    return name in _WHOLE_TOKENS


def name_of(given: Mapping[str, Any] | None) -> str | None:
    """Return the name of the pre-tokenizer of a tokenizer.json; None if llama.cpp has none that splits as it does."""
    found = _essentials(_parts(given))
    return next((name for name in KNOWN if _essentials(splitters(name)) == found), None)


def _parts(given: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    if given is None:
        return ()
    return given["pretokenizers"] if given.get("type") == "Sequence" else (given,)


def _essentials(parts: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what determines where text is split."""
    defaults = {"use_regex": True, "add_prefix_space": True, "individual_digits": False, "invert": False}
    keys = ("type", "pattern", "behavior", *defaults)
    by_type = {"ByteLevel": ("use_regex", "add_prefix_space"), "Digits": ("individual_digits",)}
    found = []
    for part in parts:
        used = ("type", *by_type.get(part["type"], keys[1:]))
        found.append(tuple((key, part.get(key, defaults.get(key))) for key in used))
    return found
