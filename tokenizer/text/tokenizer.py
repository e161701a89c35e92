"""Encodes text to ids and decodes ids to text, without loss, with any text model.

`decode(encode(s)) == s` for every string, if the model can encode every character and does not normalize:

* The space that some models add before the first word is added and removed here, once per text.
* `<vision>` and `</vision>` in a user's text are encoded as bytes (as unknown ids by a model without bytes), so that no
  text produces the ids that begin and end a video. A model that has no other ids for them is for texts alone, and
  encodes them as any other text.
* Ids of control tokens (`<s>`, `<|im_end|>`) are never produced by a text that spells their names.

A text is encoded in blocks. Their boundaries depend only on the text, so the ids of a book do not depend on the chunks
in which it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from schemas.deadline import checkpoint
from schemas.errors import ConfigError, InputError, Reason
from schemas.runs.messages import messages
from schemas.storage.location import Location, located
from schemas.text_tokenizer import local_copy
from schemas.weight_files.tokenizer_files import JSON, MODEL, TokenizerFiles, read_tokenizer_files
from tokenizer.text.byte_pairs import BytePairModel
from tokenizer.text.model import BEGIN_VISION, END_VISION, TextModel
from tokenizer.text.sentencepiece import SentencePieceModel

_MARKER = re.compile(f"{BEGIN_VISION}|{END_VISION}")
_BATCH_CHARS = 1 << 18  # per call of the library


class TextTokenizer:
    """A loaded text tokenizer. It cannot be pickled; load it in each process (0.05 to 0.5 s).

    Attributes:
        files: the files that it was made of, to be written next to what it encodes.
        sha256: of tokenizer.model or tokenizer.json; identifies the tokenizer.
        size: number of ids.
        bos_id, eos_id: the ids before and after a document. A model with only one of them uses it for both.
        unk_id, pad_id: None if there is none.
        begin_vision, end_vision: ids of `<vision>` and `</vision>`: one id each if the model has them as pieces,
            otherwise the ids that spell them (as in LWM with LLaMA's vocabulary); empty if the ids of every text
            spell them as well.
        prefix: the space that the model inserts before the first word, or "".
        losses: the reasons why decoding does not restore every text; empty if the model is lossless.
    """

    def __init__(self, files: TokenizerFiles, *, name: str) -> None:
        self.sha256, self._name = files.sha256, name
        self._model = _load(files, name)
        self.files = self._with_names(files)
        self.unk_id, self.pad_id = self._model.unk_id, self._model.pad_id
        self.prefix, self.losses = self._model.prefix, self._model.losses
        self.bos_id, self.eos_id = self._ends()
        self._markers = {BEGIN_VISION: self._spell(BEGIN_VISION), END_VISION: self._spell(END_VISION)}
        if not all(self._markers.values()):
            self._markers = {}
        self.begin_vision = self._markers.get(BEGIN_VISION, ())
        self.end_vision = self._markers.get(END_VISION, ())
        self._escapes = {text: self._escape(text) for text in (*self._markers, *self._model.escaped)}
        self._escaped = re.compile("(" + "|".join(map(re.escape, self._escapes)) + ")") if self._escapes else None

    @classmethod
    def load(cls, path: Location | Path) -> TextTokenizer:
        """Load a .model file, a tokenizer.json, the folder of a published model, or the tokenizer of a .gguf file.

        Raises ConfigError if it is missing, not a tokenizer, or of an unsupported kind. A model that is not lossless
        (see `is_lossless` and `losses`) or cannot mark videos is loaded with a warning in the log.
        """
        with local_copy(located(path)) as local:
            files = read_tokenizer_files(local)
        tokenizer = cls(files, name=str(path))
        if not tokenizer.is_lossless:
            reasons = "; ".join(tokenizer.losses)
            text = f"the text tokenizer {path} does not restore every text exactly: {reasons}"
            messages.warning_once(f"losses of {tokenizer.sha256}", text)
        if not tokenizer.begin_vision:
            about = f"markers of {tokenizer.sha256}"
            messages.warning_once(
                about, f"the text tokenizer {path} is for texts alone: it has no pieces for {BEGIN_VISION}"
            )
        return tokenizer

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self._model.surfaces)

    @property
    def surfaces(self) -> tuple[bytes, ...]:
        """The bytes that each id decodes to."""
        return self._model.surfaces

    @property
    def control(self) -> Mapping[str, int]:
        """The ids that no text is encoded to, by their names."""
        return self._model.control

    @property
    def adds_prefix_once(self) -> bool:
        """Whether the prefix is added to the start of a chat only, not to the text after each control id."""
        return self._model.adds_prefix_once

    @property
    def is_lossless(self) -> bool:
        """True if `decode(encode(s)) == s` for every string."""
        return not self.losses

    def encode(self, text: str, *, adds_prefix: bool = True) -> NDArray[np.uint32]:
        """Return the ids [n] of `text`, without bos and eos; `adds_prefix=False` for a text that continues another.

        Raises InputError (NOT_TEXT) for an unpaired surrogate, which UTF-8 cannot represent.
        """
        if adds_prefix:
            return self.encode_parts([text])[0]
        return _joined(list(self._encode_stream([text])))

    def encode_parts(self, parts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return the ids of each part; their concatenation decodes to the concatenated parts."""
        filled = [i for i, part in enumerate(parts) if part]
        texts = {i: parts[i] for i in filled}
        if filled:
            texts[filled[0]] = self.prefix + texts[filled[0]]
            texts[filled[-1]] += self._model.suffix
        ids: list[list[NDArray[np.uint32]]] = [[] for _ in parts]
        for i, spans in self._divided_markers(texts).items():
            ids[i] = list(self._encode_around(texts.pop(i), spans))
        # Blocks of several parts are encoded in one call, as a part can be a single word.
        owned = ((i, block) for i, text in texts.items() for block in self._blocks([text]))
        for batch in _batches(owned):
            checkpoint()
            for (i, _), encoded in zip(batch, self._encode_blocks([block for _, block in batch]), strict=True):
                ids[i].append(encoded)
        return [_joined(found) for found in ids]

    def encode_stream(self, chunks: Iterable[str]) -> Iterator[NDArray[np.uint32]]:
        """Yield the ids of the concatenated chunks, at most a few hundred thousand at a time, in bounded memory.

        Their concatenation equals `encode("".join(chunks))` for any division of a text into chunks.
        """
        return self._encode_stream(self._framed(chunks))

    def decode(self, ids: NDArray[Any] | Sequence[int]) -> str:
        """Return the text of `ids` [n]. Control ids (bos, eos) are skipped; invalid UTF-8 becomes U+FFFD.

        As in SentencePiece, the first space is removed if the model inserts one before the first word.
        """
        plain = np.asarray(ids, np.int64)
        if np.any((plain < 0) | (plain >= self.size)):
            raise ConfigError(
                f"ids must lie in 0..{self.size - 1} for {self._name}, got {plain.min()}..{plain.max()}: "
                "decode them with the model that encoded them"
            )
        text = self.surface(plain).decode("utf-8", errors="replace")
        return text.removeprefix(self.prefix).removesuffix(self._model.suffix)

    def surface(self, ids: NDArray[Any]) -> bytes:
        """Return the UTF-8 bytes of `ids` [n], including `prefix`; they may begin or end inside a character."""
        return b"".join(map(self.surfaces.__getitem__, ids.tolist()))

    def byte_offsets(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """Return [n + 1]: where each of `ids` [n] starts in `surface(ids)`, and the end of the last."""
        return np.concatenate([[0], np.cumsum(self._surface_sizes[ids])])

    def __reduce__(self) -> NoReturn:
        raise TypeError("a TextTokenizer cannot be pickled: load it by its path in each process")

    @cached_property
    def _surface_sizes(self) -> NDArray[np.int64]:
        return np.fromiter(map(len, self.surfaces), np.int64, self.size)

    def _framed(self, chunks: Iterable[str]) -> Iterator[str]:
        filled = filter(None, chunks)
        for first in islice(filled, 1):
            yield self.prefix + first
            yield from filled
            yield self._model.suffix

    def _divided_markers(self, texts: Mapping[int, str]) -> dict[int, list[tuple[int, int]]]:
        """Return where each text has a fragment of a marker that begins in one text and ends in another."""
        joined, found = "".join(texts.values()), dict[int, list[tuple[int, int]]]()
        is_searched = self._markers and "vision>" in joined
        markers = [match.span() for match in _MARKER.finditer(joined)] if is_searched else []
        at = 0
        for i, text in texts.items():
            end = at + len(text)
            for start, stop in markers:
                if max(start, at) < min(stop, end) and not (at <= start and stop <= end):
                    found.setdefault(i, []).append((max(start, at) - at, min(stop, end) - at))
            at = end
        return found

    def _encode_around(self, text: str, spans: Sequence[tuple[int, int]]) -> Iterator[NDArray[np.uint32]]:
        """Yield the ids of a text, with those of the bytes of each span."""
        at = 0
        for start, end in spans:
            yield from self._encode_stream([text[at:start]])
            spelled = [self._model.bytes.get(byte, self.unk_id or 0) for byte in text[start:end].encode()]
            yield np.array(spelled, np.uint32)
            at = end
        yield from self._encode_stream([text[at:]])

    def _encode_stream(self, chunks: Iterable[str]) -> Iterator[NDArray[np.uint32]]:
        for batch in _batches((0, block) for block in self._blocks(chunks)):
            yield _joined(self._encode_blocks([block for _, block in batch]))

    def _blocks(self, chunks: Iterable[str]) -> Iterator[str]:
        if (normalize := self._model.normalize) is not None:
            # Normalize before the search for markers: NFKC maps "＜vision＞" to "<vision>".
            chunks = (normalize(_valid(block)) for block in self._model.blocks(chunks))
        return self._model.blocks(chunks)

    def _encode_blocks(self, batch: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return the ids of each block."""
        if self._escaped is None:
            return [np.asarray(ids, np.int32) for ids in self._model.encode([_valid(block) for block in batch])]
        parts = [[part for part in self._escaped.split(block) if part] for block in batch]
        plain = [_valid(part) for block in parts for part in block if part not in self._escapes]
        encoded = iter(self._model.encode(plain))
        return [_joined([self._escapes[p] if p in self._escapes else next(encoded) for p in block]) for block in parts]

    def _with_names(self, files: TokenizerFiles) -> TokenizerFiles:
        """Complete the configuration for `transformers`: the class, and the names of the special tokens."""
        model, pieces = self._model, self._model.pieces
        ids = {"bos": model.bos_id, "eos": model.eos_id, "unk": model.unk_id, "pad": model.pad_id}
        names = {f"{key}_token": None if i is None else pieces[i] for key, i in ids.items()}
        # The class of a tokenizer.json; `LlamaTokenizer` has rules of its own about the space before a text.
        kind = "PreTrainedTokenizerFast" if JSON in files.contents() else "LlamaTokenizer"
        return files.with_config(tokenizer_class=files.config.get("tokenizer_class", kind), **names)

    def _ends(self) -> tuple[int, int]:
        bos, eos = self._model.bos_id, self._model.eos_id
        first, last = (eos if bos is None else bos), (bos if eos is None else eos)
        if first is None or last is None:
            raise ConfigError(
                f"the text tokenizer {self._name} has neither a bos nor an eos token, so documents cannot be "
                "separated: name one in tokenizer_config.json, train a model with bos_id and eos_id, or use "
                "`longreel train-text-tokenizer`"
            )
        return first, last

    def _escape(self, text: str) -> NDArray[np.int32]:
        """Return the ids of a text in bytes; the unknown id if the model has none for bytes."""
        ids, unknown = self._model.bytes, [] if self.unk_id is None else [self.unk_id]
        return np.array([ids[byte] for byte in text.encode()] if ids else unknown, np.int32)

    def _spell(self, marker: str) -> tuple[int, ...]:
        """Return the ids of a marker; none if they contain those that the marker in a user's text has."""
        if marker in self._model.pieces:
            return (self._model.pieces.index(marker),)
        ids = self._model.encode([self.prefix + marker + self._model.suffix])[0].tolist()
        escape = self._escape(marker).tolist()
        is_ambiguous = any(ids[i : i + len(escape)] == escape for i in range(len(ids)))
        return () if is_ambiguous else tuple(ids)


def _load(files: TokenizerFiles, name: str) -> TextModel:
    if files.main_name == MODEL:
        return SentencePieceModel(files, name=name)
    return BytePairModel(files, name=name)


def _batches(blocks: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    batch: list[tuple[int, str]] = []
    size = 0
    for owner, block in blocks:
        batch.append((owner, block))
        size += len(block)
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _joined(ids: Sequence[NDArray[Any]]) -> NDArray[np.uint32]:
    found = ids[0] if len(ids) == 1 else np.concatenate([np.empty(0, np.int32), *(part.view(np.int32) for part in ids)])
    return found.view(np.uint32)


def _valid(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise InputError(
            Reason.NOT_TEXT,
            f"the text contains an unpaired surrogate ({text[e.start]!a}): correct the encoding of the source",
        ) from e
    return text
