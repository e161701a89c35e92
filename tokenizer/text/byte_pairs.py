"""A tokenizer.json of the library `tokenizers`, with a BPE model (Sennrich et al. 2016, arXiv 1508.07909).

The ids are those of the library for the whole text, apart from three intended differences: names of special tokens in a
text stay text, `<vision>` and `</vision>` are spelled in bytes, and a text of more than 65,536 characters without a
place where every tokenizer cuts is cut there (see `pre_token_cuts`). Speed: that of the library, on one thread.

The library is compiled code that a deadline cannot interrupt, and its regular expressions backtrack. `load` therefore
measures how the time of the pre-tokenizer grows with the length of a text, and refuses one that grows too fast.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.weight_files.tokenizer_files import TokenizerFiles
from tokenizer.text.model import TextModel
from tokenizer.text.pre_token_cuts import cut_blocks, rules_of, rules_of_tokens
from tokenizer.text.tokenizer_json import SPACE, AddedToken, byte_characters, read_format, surface_of

# Workers run one process per core, so threads of the library would only compete. It reads the variable when it is used.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_MOST_SECONDS = 0.1  # of the pre-tokenizer, for 4,096 characters; published ones take 0.001 to 0.008
_PROBES = ("a", "A", " ", "\n", "1", "!", "é", "漢", "a ", "\r\n", " \n", "aA", "a1", "'s", "\u0301", "<|", "ab!")
_NAMED = 16  # bytes without a token in a message
_UTF8_BYTES = [byte for byte in range(256) if byte not in (0xC0, 0xC1) and byte < 0xF5]
_BOS = ("<|begin_of_text|>", "<s>", "<bos>", "<｜begin▁of▁sentence｜>", "<|startoftext|>")
_EOS = (
    *("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<｜end▁of▁sentence｜>"),
    *("<|im_end|>", "<|eot_id|>", "<|end|>"),
)


class BytePairModel(TextModel):
    """A loaded model."""

    suffix = ""

    def __init__(self, files: TokenizerFiles, *, name: str) -> None:
        self.name, self._format = name, read_format(files.main, name=name)
        self._tokenizer = _guarded(partial(tokenizers.Tokenizer.from_str, self._format.model_json), name)
        vocab = self._format.vocab
        self.pieces = _by_id(vocab)
        self.control = {token.content: token.id for token in self._format.added if token.is_control}
        self.unk_id = _id_of(self._format.unk_token, vocab, name) if self._format.unk_token else None
        self.surfaces = tuple(self._surfaces())
        self.bytes = self._bytes()
        self.prefix, self.adds_prefix_once = self._format.prefix, self._format.adds_prefix_once
        self.escaped = () if self._format.is_byte_level else (SPACE,)
        self.normalize = self._normalize if self._format.normalizers else None
        self._normalizers = [getattr(tokenizers.normalizers, form)() for form in self._format.normalizers]
        self.bos_id, self.eos_id = self._ends(files.config)
        pad = files.config.get("pad_token")
        self.pad_id = _id_of(pad, vocab, name) if pad else None
        self._check_speed()
        self._rules = self._find_rules()
        self._check_text_is_kept()
        self.losses = tuple(self._find_losses())

    def blocks(self, chunks: Iterable[str]) -> Iterator[str]:
        """See `TextModel`."""
        return cut_blocks(chunks, self._rules)

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """See `TextModel`."""
        encode = partial(self._tokenizer.encode_batch_fast, list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in _guarded(encode, self.name)]

    def _normalize(self, text: str) -> str:
        if not text.isascii():
            for normalizer in self._normalizers:
                text = normalizer.normalize_str(text)
        return text

    def _surfaces(self) -> Iterator[bytes]:
        surface, added = surface_of(self._format), {token.id: token for token in self._format.added}
        for i, piece in enumerate(self.pieces):
            yield _added_surface(added[i]) if i in added else surface(piece)

    def _bytes(self) -> dict[int, int]:
        if not self._format.is_byte_level:
            return dict(self._format.byte_tokens) if len(self._format.byte_tokens) == 256 else {}
        vocab = self._format.vocab
        found = {byte: vocab[character] for character, byte in byte_characters().items() if character in vocab}
        return found if found.keys() >= set(range(0x20, 0x7F)) else {}

    def _ends(self, config: Mapping[str, Any]) -> tuple[int | None, int | None]:
        vocab = self._format.vocab
        if config.get("bos_token") or config.get("eos_token"):
            names = config.get("bos_token"), config.get("eos_token")
        else:  # a file without its configuration
            first, last = self._format.ends
            special = {token.content for token in self._format.added if token.special}
            names = (
                first or next((name for name in _BOS if name in special), None),
                last or next((name for name in _EOS if name in special), None),
            )
        bos, eos = (_id_of(token, vocab, self.name) if token else None for token in names)
        return bos, eos

    def _split(self, text: str) -> list[str]:
        splitter, pieces = self._tokenizer.pre_tokenizer, [text]
        if splitter is not None:
            pieces = [piece for piece, _ in splitter.pre_tokenize_str(text)]
        return pieces

    def _find_rules(self) -> tuple[Any, ...]:
        if self._format.splitters:
            return rules_of(self._split)
        return rules_of_tokens(piece.replace(SPACE, " ") for piece in self._format.vocab)

    def _check_speed(self) -> None:
        for probe in _PROBES:
            for size in (64, 128, 256, 512, 1024, 2048, 4096):
                # The last character makes a pattern that needs another one try everything else.
                text = (probe * size)[:size] + "\x7f"
                # A busy machine can slow one attempt.
                if all((seconds := self._seconds(text)) > _MOST_SECONDS for _ in range(3)):
                    raise ConfigError(
                        f"the text tokenizer {self.name} is not supported: a regular expression of its pre-tokenizer "
                        f"takes {seconds:.1f} s for {size} characters"
                    )

    def _seconds(self, text: str) -> float:
        started = time.thread_time()
        _guarded(partial(self._split, text), self.name)
        return time.thread_time() - started

    def _check_text_is_kept(self) -> None:
        """Refuse a pre-tokenizer that drops text."""
        for text in ("  a\tb\r\n\n c's 12,5 ", "  漢字。 e\u0301 \u200d😀\n", "".join(map(chr, range(1, 0x250)))):
            normalized = self._normalize(text)
            ids = [int(i) for part in self._tokenizer.encode(normalized, add_special_tokens=False).ids for i in [part]]
            kept = b"".join(self.surfaces[i] for i in ids)
            if kept != normalized.encode() and self.unk_id not in ids and not self._missing_bytes():
                raise ConfigError(
                    f"the text tokenizer {self.name} is not supported: it encodes {normalized[:12]!r}… as "
                    f"{kept.decode(errors='replace')[:12]!r}…, so text would be lost"
                )

    def _missing_bytes(self) -> list[int]:
        if not self._format.is_byte_level:
            return []
        vocab = self._format.vocab
        return sorted(b for c, b in byte_characters().items() if c not in vocab and b in _UTF8_BYTES)

    def _find_losses(self) -> Iterator[str]:
        if self._format.normalizers:
            yield f"its normalizer {', '.join(self._format.normalizers)} replaces characters"
        if missing := self._missing_bytes():
            named = " ".join(f"0x{byte:02X}" for byte in missing[:_NAMED]) + (" …" if len(missing) > _NAMED else "")
            yield f"it has no token for some bytes ({named}), so they are dropped"
        if not self._format.is_byte_level and not self.bytes:
            yield "it has no byte fallback, so characters without a token become <unk>"


def _by_id(vocab: Mapping[str, int]) -> list[str]:
    """Return the tokens in the order of their ids; "" for ids without a token."""
    pieces = [""] * (max(vocab.values()) + 1)
    for text, i in vocab.items():
        pieces[i] = text
    return pieces


def _added_surface(token: AddedToken) -> bytes:
    return b"" if token.special else token.content.encode(errors="replace")


def _id_of(token: Any, vocab: Mapping[str, int], name: str) -> int:
    if token not in vocab:
        raise ConfigError(f"the text tokenizer {name} has no token {token!r:.60}, which its configuration names")
    return vocab[token]


def _guarded(call: Any, name: str) -> Any:
    """Call the library and turn its errors into a ConfigError; a panic of its code is not derived from Exception."""
    try:
        return call()
    except BaseException as e:
        if not isinstance(e, Exception) and type(e).__name__ != "PanicException":
            raise
        raise ConfigError(f"the text tokenizer {name} is not supported: {e}") from e
