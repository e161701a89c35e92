"""Checks a tokenizer.json and divides it into what encodes plain text, and what does not.

Two kinds of BPE are supported, which cover LLaMA, Mistral, Qwen, DeepSeek, SmolLM and the other families of causal
models:

* byte level (GPT-2, LLaMA 3, Qwen): the pre-tokenizer splits the text and maps each byte to a character;
* SentencePiece's (LLaMA 2, Mistral): spaces become "▁", and characters without a token are spelled in byte tokens.

`PlainFormat.model_json` is a new tokenizer.json, made only of parts that were checked. It has no special tokens, no
template, no truncation and no prefix, so no text in it can be taken for anything but text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigError
from schemas.weight_files.tokenizer_files import parse_json_object
from tokenizer.text.model import is_marker

SPACE = "\u2581"  # stands for a space in tokens of SentencePiece's kind
_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")
_MOST_IDS = 1 << 22
_MOST_PARTS, _LONGEST_PATTERN = 32, 8192
_NORMALIZERS = ("NFC", "NFD", "NFKC", "NFKD")
_SPLITTERS = ("ByteLevel", "Digits", "Punctuation", "Split", "UnicodeScripts")
_BEHAVIORS = ("Isolated", "MergedWithNext", "MergedWithPrevious", "Contiguous")

Part = Mapping[str, Any]  # of a tokenizer.json: a normalizer or a pre-tokenizer


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """An entry of `added_tokens`."""

    id: int
    content: str
    special: bool

    @property
    def is_control(self) -> bool:
        """Whether no text may produce it: a special token, or one in brackets such as <tool_call>."""
        return self.special or is_marker(self.content)


@dataclass(frozen=True, kw_only=True)
class PlainFormat:
    """What a tokenizer.json says.

    Attributes:
        model_json: a tokenizer.json that encodes plain text.
        vocab: the id of each token, including those that were added.
        added: the tokens that were added to the model.
        is_byte_level: whether tokens consist of GPT-2's characters for bytes.
        byte_tokens: the id of each byte, of SentencePiece's kind: {65: id of "<0x41>"}.
        unk_token: the name of the unknown token.
        prefix: " " if one is added before the first word, otherwise "".
        adds_prefix_once: whether it is added to the start of a text only, not after each special token.
        normalizers: names of Unicode normalization forms.
        ends: special tokens before and after a text, according to the template.
        splitters: the pre-tokenizers of `model_json`.
    """

    model_json: str
    vocab: Mapping[str, int]
    added: tuple[AddedToken, ...]
    is_byte_level: bool
    byte_tokens: Mapping[int, int]
    unk_token: str | None
    prefix: str
    adds_prefix_once: bool
    normalizers: tuple[str, ...]
    ends: tuple[str | None, str | None]
    splitters: tuple[Part, ...]


def read_format(data: bytes, *, name: str) -> PlainFormat:
    """Parse and check a tokenizer.json; raises ConfigError with the reason if it is not supported."""
    values = parse_json_object(data, name)
    try:
        return _Reader(values, name).read()
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as e:
        what = f"it has no {e}" if isinstance(e, KeyError) else str(e) or type(e).__name__
        raise ConfigError(f"{name} is not a valid tokenizer.json: {what}") from e


class _Reader:
    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        self._values, self._name = values, name
        self._model: Mapping[str, Any] = values["model"]

    def read(self) -> PlainFormat:
        self._check_model()
        added = tuple(self._added())
        vocab = self._vocab(added)
        normalizers = list(self._parts("normalizer", "normalizers"))
        splitters = list(self._parts("pre_tokenizer", "pretokenizers"))
        is_byte_level = any(part["type"] == "ByteLevel" for part in (*normalizers, *splitters))
        metaspaces = [part for part in splitters if part["type"] == "Metaspace"]
        if not is_byte_level and not self._model.get("byte_fallback"):
            self._refuse("its model has neither byte-level tokens nor byte fallback, so it cannot encode every text")
        if self._model.get("byte_fallback") and self._model.get("ignore_merges"):
            self._refuse("byte_fallback and ignore_merges together are not supported")
        plain = [self._splitter(part) for part in splitters if part["type"] != "Metaspace"]
        forms = tuple(name for part in normalizers for name in self._form(part, is_byte_level=is_byte_level))
        prefix, once = self._prefix(normalizers, splitters, metaspaces)
        spaces = () if is_byte_level else ({"type": "Replace", "pattern": {"String": " "}, "content": SPACE},)
        bytes_first = [part for part in normalizers if part["type"] == "ByteLevel"]
        return PlainFormat(
            model_json=self._model_json(added, [*spaces, *bytes_first], plain),
            vocab=vocab,
            added=added,
            is_byte_level=is_byte_level,
            byte_tokens={int(m[1], 16): vocab[m[0]] for m in map(_BYTE_TOKEN.fullmatch, vocab) if m},
            unk_token=self._model.get("unk_token"),
            prefix=prefix,
            adds_prefix_once=once,
            normalizers=forms,
            ends=self._ends(),
            splitters=tuple(plain),
        )

    def _refuse(self, why: str) -> None:
        raise ConfigError(f"the text tokenizer {self._name} is not supported: {why}")

    def _check_model(self) -> None:
        # Some files do not name the type; only BPE has merges.
        kind = self._model.get("type") or ("BPE" if "merges" in self._model else None)
        if kind != "BPE":
            self._refuse(
                f"its model is {kind!r:.40}; BPE is supported, and Unigram as a SentencePiece file (tokenizer.model)"
            )
        for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if self._model.get(option):
                self._refuse(f"its model has {option}={self._model[option]!r:.40}, which loses text")

    def _added(self) -> Iterator[AddedToken]:
        for token in self._values.get("added_tokens") or ():
            if not isinstance(token["content"], str) or not token["content"]:
                raise ValueError(f"the added token {token['id']!r} has no content")
            yield AddedToken(id=token["id"], content=token["content"], special=bool(token.get("special")))

    def _vocab(self, added: tuple[AddedToken, ...]) -> dict[str, int]:
        vocab = dict(self._model["vocab"])
        for token in added:
            if vocab.setdefault(token.content, token.id) != token.id:
                raise ValueError(f"the token {token.content!r} has the ids {vocab[token.content]} and {token.id}")
        if not vocab:
            raise ValueError("it has no tokens")
        for text, i in vocab.items():
            if type(i) is not int or not 0 <= i < _MOST_IDS:
                raise ValueError(f"the token {text!r:.60} has the id {i!r:.40}; ids must lie in 0..{_MOST_IDS - 1}")
        if len(set(vocab.values())) < len(vocab):
            raise ValueError("two tokens have the same id")
        return vocab

    def _parts(self, key: str, members: str, depth: int = 0, part: Part | None = None) -> Iterator[Part]:
        """Yield the members of nested sequences, at most _MOST_PARTS."""
        part = self._values.get(key) if part is None else part
        if part is None:
            return
        if part["type"] != "Sequence":
            yield part
            return
        if depth > 4 or len(part[members]) > _MOST_PARTS:
            self._refuse(f"its {key} has too many parts")
        for member in part[members]:
            yield from self._parts(key, members, depth + 1, member)

    def _splitter(self, part: Part) -> Part:
        if part["type"] not in _SPLITTERS:
            self._refuse(f"its pre-tokenizer {part['type']!r:.40} is not one of {', '.join(_SPLITTERS)}, Metaspace")
        if part["type"] == "Split":
            self._check_pattern(part["pattern"])
            if part["behavior"] not in _BEHAVIORS:
                self._refuse(f"its pre-tokenizer Split has the behavior {part['behavior']!r:.40}, which drops text")
        return {**part, "add_prefix_space": False} if part["type"] == "ByteLevel" else part

    def _check_pattern(self, pattern: Mapping[str, str]) -> None:
        for text in pattern.values():
            if len(text) > _LONGEST_PATTERN:
                self._refuse(f"a pattern of its pre-tokenizer has {len(text):,} characters, over {_LONGEST_PATTERN:,}")

    def _form(self, part: Part, *, is_byte_level: bool) -> Iterator[str]:
        kind = part["type"]
        is_space = kind == "Replace" and part["pattern"] == {"String": " "} and part["content"] == SPACE
        is_prefix = kind == "Prepend" and part["prepend"] == SPACE
        if kind in _NORMALIZERS:
            yield kind
        elif kind != "ByteLevel" and not ((is_space or is_prefix) and not is_byte_level):
            supported = f"{', '.join(_NORMALIZERS)}, and spaces as {SPACE}"
            self._refuse(f"its normalizer {kind!r:.40} replaces or drops text; supported are {supported}")

    def _prefix(self, normalizers: list[Part], splitters: list[Part], metaspaces: list[Part]) -> tuple[str, bool]:
        schemes = [part.get("prepend_scheme", "always") for part in metaspaces]
        has_prefix = (
            any(part["type"] == "Prepend" for part in normalizers)
            or any(part.get("add_prefix_space") for part in splitters if part["type"] == "ByteLevel")
            or any(scheme != "never" for scheme in schemes)
        )
        return (" " if has_prefix else ""), "first" in schemes

    def _ends(self) -> tuple[str | None, str | None]:
        """Return the special tokens before and after a text in the template of `post_processor`."""
        processor = self._values.get("post_processor") or {}
        parts = processor.get("processors", [processor])
        single: list[Any] = next((part["single"] for part in parts if part.get("type") == "TemplateProcessing"), [])
        at = next((i for i, piece in enumerate(single) if "Sequence" in piece), 0)
        names = [piece["SpecialToken"]["id"] if "SpecialToken" in piece else None for piece in single]
        return (names[0] if at else None), (names[-1] if names else None)

    def _model_json(self, added: tuple[AddedToken, ...], normalizers: list[Part], splitters: list[Part]) -> str:
        control = {token.content for token in added if token.is_control} - {self._model.get("unk_token")}
        of_model = {text: i for text, i in self._model["vocab"].items() if text not in control}
        # The library takes the id of an added token from the model's vocabulary, not from `added_tokens`.
        of_model |= {token.content: token.id for token in added if not token.is_control}
        merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in self._model["merges"]]
        if control:
            merges = [(a, b) for a, b in merges if a + b not in control and a not in control and b not in control]
        kept = [
            {"id": token.id, "content": token.content, "special": False, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for token in added
            if not token.is_control
        ]
        model = {**self._model, "type": "BPE", "vocab": of_model, "merges": merges}
        values: dict[str, Any] = {"version": "1.0", "added_tokens": kept, "model": model}
        values |= {"normalizer": _sequence("normalizers", normalizers)}
        values |= {"pre_tokenizer": _sequence("pretokenizers", splitters)}
        return json.dumps(values, ensure_ascii=False)


def _sequence(members: str, parts: list[Part]) -> Part | None:
    return {"type": "Sequence", members: parts} if parts else None


def byte_characters() -> dict[str, int]:
    """Return GPT-2's characters for the 256 bytes: printable ones stand for themselves, others for U+0100 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def surface_of(format_: PlainFormat) -> Callable[[str], bytes]:
    """Return the function from a token of the model, which is not an added one, to the bytes that it stands for."""
    characters = byte_characters()

    def byte_level(token: str) -> bytes:
        if all(c in characters for c in token):
            return bytes(characters[c] for c in token)
        return token.encode(errors="replace")

    def sentencepiece(token: str) -> bytes:
        match = _BYTE_TOKEN.fullmatch(token)
        return bytes([int(match[1], 16)]) if match else token.replace(SPACE, " ").encode(errors="replace")

    return byte_level if format_.is_byte_level else sentencepiece
