"""Encodes text to ids and decodes ids to text with a SentencePiece model, without loss.

Any SentencePiece `.model` can be loaded: BPE (Sennrich et al. 2016, arXiv 1508.07909) or unigram, including those of
LLaMA and Mistral. SentencePiece itself loses text in four cases. This module handles them, so that
`decode(encode(s)) == s` for every string if the model has byte fallback and no normalization rule:

* Runs of spaces, and leading and trailing spaces, are kept, even if the model's normalizer removes them.
* The space that some models insert before the first word is added and removed here, once per text instead of once per
  call.
* "▁" (U+2581), which represents a space inside pieces, is encoded as bytes if the text contains it.
* `<vision>` and `</vision>` in a user's text are encoded as bytes (as `<unk>` by a model without byte fallback), so
  that no text produces the ids that begin and end a video.

A text is encoded in blocks (`tokenizer/text/chunking.py`). Their boundaries depend only on the text, so the ids of a
book do not depend on the chunks in which it is read. If no piece crosses a newline or a space (LLaMA, Mistral, models
trained here), the ids equal those of SentencePiece for the whole text, at two to four times its speed: about 5 MB/s
per core. In text without spaces (Chinese, Japanese) the pieces at block boundaries, every 1,024 characters, can differ.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from schemas.deadline import checkpoint
from schemas.errors import ConfigError, InputError, Reason
from schemas.files import atomic, open_regular
from schemas.fingerprint import sha256_stream
from tokenizer.text.chunking import BEGIN_VISION, END_VISION, blocks

_SPACE = "\u2581"  # SentencePiece's visible space
_BATCH_BLOCKS = 256  # per call of SentencePiece: at most 256 Ki characters
_MODEL_LIMIT_BYTES = 1 << 28

# A protobuf parser merges appended fields. In the model's normalizer_spec (field 3), these bytes set an empty charsmap
# (2), add_dummy_prefix (3) = false and remove_extra_whitespaces (4) = false.
_KEEP_TEXT = b"\x1a\x06\x12\x00\x18\x00\x20\x00"
_SMALLEST_CHARSMAP = 1024  # bytes; a specification without a charsmap has a few dozen

_log = logging.getLogger(__name__)


class TextTokenizer:
    """A loaded SentencePiece model. It cannot be pickled; load it in each process (40 ms for 32,000 pieces).

    Attributes:
        sha256: of the model file; identifies the tokenizer.
        size: number of ids.
        bos_id, eos_id: the ids before and after a document. A model with only one of them uses it for both.
        begin_vision, end_vision: ids of `<vision>` and `</vision>`: one id each if the model has them as pieces,
            otherwise the ids that spell them (as in LWM with LLaMA's vocabulary).
        prefix: the space that the model inserts before the first word, or "".
        losses: the reasons why decoding does not restore every text; empty if the model is lossless.
    """

    def __init__(self, model: bytes, *, name: str) -> None:
        given = _processor(model, name=name)
        self.sha256 = sha256_stream(io.BytesIO(model))
        self._name = name
        self._processor = _processor(model + _KEEP_TEXT, name=name)
        self._normalizer = _normalizer(model)
        self._pieces = [given.id_to_piece(i) for i in range(len(given))]
        self._bytes = {int(self._pieces[i][3:5], 16): i for i in range(self.size) if given.is_byte(i)}
        self._surfaces = [self._surface(given, i) for i in range(self.size)]
        alone = given.normalize("a")
        self.prefix = " " if len(alone) > 1 and alone.endswith("a") else ""
        self._suffix = " " if len(alone) > 1 and alone.startswith("a") else ""
        self.bos_id, self.eos_id = self._ends(given)
        self._escapes = self._escape_table(given)
        self._escaped = re.compile("(" + "|".join(map(re.escape, self._escapes)) + ")")
        self.begin_vision = self._spell(BEGIN_VISION)
        self.end_vision = self._spell(END_VISION)
        self.losses = tuple(self._find_losses())

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        """Load a `.model` file; raises ConfigError if it is missing, not a model, or cannot encode the video markers.

        A model that is not lossless is loaded with one warning in the log; see `is_lossless` and `losses`.
        """
        try:
            if path.stat().st_size > _MODEL_LIMIT_BYTES:
                raise ConfigError(
                    f"{path} has {path.stat().st_size:,} bytes, too many for a SentencePiece model: give a .model file"
                )
            with open_regular(path) as stream:
                tokenizer = cls(stream.read(), name=str(path))
        except OSError as e:
            raise ConfigError(f"the text model {path} cannot be read: {e.strerror}") from e
        if not tokenizer.is_lossless:
            reasons = "; ".join(tokenizer.losses)
            _log.warning("the text model %s does not restore every text exactly: %s", path, reasons)
        return tokenizer

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self._pieces)

    @property
    def surfaces(self) -> tuple[bytes, ...]:
        """The bytes that each id decodes to."""
        return tuple(self._surfaces)

    @property
    def is_lossless(self) -> bool:
        """True if `decode(encode(s)) == s` for every string."""
        return not self.losses

    def encode(self, text: str) -> NDArray[np.uint32]:
        """Return the ids [n] of `text`, without bos and eos.

        Raises InputError (NOT_TEXT) for an unpaired surrogate, which UTF-8 cannot represent.
        """
        return self.encode_parts([text])[0]

    def encode_parts(self, parts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return the ids of each part; their concatenation decodes to the concatenated parts."""
        filled = [i for i, part in enumerate(parts) if part]
        texts = {i: parts[i] for i in filled}
        if filled:
            texts[filled[0]] = self.prefix + texts[filled[0]]
            texts[filled[-1]] += self._suffix
        # Blocks of several parts are encoded in one call, as a part can be a single word.
        ids: list[list[NDArray[np.uint32]]] = [[] for _ in parts]
        owned = ((i, block) for i, text in texts.items() for block in self._blocks([text]))
        while batch := list(islice(owned, _BATCH_BLOCKS)):
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
        return text.removeprefix(self.prefix).removesuffix(self._suffix)

    def surface(self, ids: NDArray[Any]) -> bytes:
        """Return the UTF-8 bytes of `ids` [n], including `prefix`; they may begin or end inside a character."""
        return b"".join(map(self._surfaces.__getitem__, ids.tolist()))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a TextTokenizer cannot be pickled: load it by its path in each process")

    def _framed(self, chunks: Iterable[str]) -> Iterator[str]:
        filled = filter(None, chunks)
        for first in islice(filled, 1):
            yield self.prefix + first
            yield from filled
            yield self._suffix

    def _encode_stream(self, chunks: Iterable[str]) -> Iterator[NDArray[np.uint32]]:
        waiting = self._blocks(chunks)
        while batch := list(islice(waiting, _BATCH_BLOCKS)):
            yield _joined(self._encode_blocks(batch))

    def _blocks(self, chunks: Iterable[str]) -> Iterator[str]:
        if self._normalizer is not None:
            # Normalize before the search for markers: NFKC maps "＜vision＞" to "<vision>".
            chunks = (self._normalizer.Normalize(_utf8(block)).decode() for block in blocks(chunks))
        return blocks(chunks)

    def _encode_blocks(self, batch: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return the ids of each block."""
        parts = [[part for part in self._escaped.split(block) if part] for block in batch]
        plain = [_utf8(part) for block in parts for part in block if part not in self._escapes]
        encoded = iter(self._processor.encode(plain, return_type="numpy", num_threads=1))
        return [_joined([self._escapes[p] if p in self._escapes else next(encoded) for p in block]) for block in parts]

    def _surface(self, given: sentencepiece.SentencePieceProcessor, i: int) -> bytes:
        if given.is_control(i):
            return b""
        if given.is_byte(i):
            return bytes.fromhex(self._pieces[i][3:5])
        piece = given.decode([i]) if given.is_unknown(i) else self._pieces[i].replace(_SPACE, " ")
        return piece.encode()

    def _ends(self, given: sentencepiece.SentencePieceProcessor) -> tuple[int, int]:
        bos, eos = given.bos_id(), given.eos_id()
        if bos < 0 and eos < 0:
            raise ConfigError(
                f"the text model {self._name} has neither a bos nor an eos piece, so documents cannot be separated: "
                "train a model with bos_id and eos_id, or use `longreel train-text-tokenizer`"
            )
        return (bos if bos >= 0 else eos), (eos if eos >= 0 else bos)

    def _escape_table(self, given: sentencepiece.SentencePieceProcessor) -> dict[str, NDArray[np.int32]]:
        if not self._bytes:
            unknown = np.array([given.unk_id()], np.int32)
            return {BEGIN_VISION: unknown, END_VISION: unknown}
        markers = (BEGIN_VISION, END_VISION, _SPACE)
        return {m: np.array([self._bytes[b] for b in m.encode()], np.int32) for m in markers}

    def _spell(self, marker: str) -> tuple[int, ...]:
        if marker in self._pieces:
            return (self._pieces.index(marker),)
        ids = self._processor.encode(self.prefix + marker + self._suffix)
        escape = self._escapes[marker].tolist()
        # The marker in a user's text is encoded as `escape`, so the marker itself needs another encoding.
        if any(ids[i : i + len(escape)] == escape for i in range(len(ids))):
            raise ConfigError(
                f"the text model {self._name} has no pieces for {marker}, so it cannot mark videos: train it with "
                f"{BEGIN_VISION} and {END_VISION} as user-defined symbols, or use `longreel train-text-tokenizer`"
            )
        return tuple(ids)

    def _find_losses(self) -> Iterator[str]:
        if self._normalizer is not None:
            yield "its normalization rule (such as NFKC) replaces characters"
        if not self._bytes:
            yield "it has no byte fallback, so characters without a piece become <unk>"
        elif self.decode(self.encode(" a  b\n ")) != " a  b\n ":
            yield "it has no piece for a space"


@dataclass(frozen=True, kw_only=True)
class TextTrainConfig:
    """Options of the training of a text tokenizer."""

    vocab_size: int = 32_000
    """Maximum number of ids; a small corpus yields fewer."""
    character_coverage: float = 0.9995
    """Fraction of the corpus's characters that are covered by pieces; the others are encoded as bytes."""
    max_train_bytes: int = 128 << 20
    """Bytes of UTF-8 to train on; a larger corpus is sampled."""
    seed: int = 0
    """Random seed for sampling."""

    def __post_init__(self) -> None:
        if not 512 <= self.vocab_size <= 1_000_000:
            raise ConfigError(f"vocab_size must lie in 512..1,000,000, got {self.vocab_size}")
        if not 0.9 <= self.character_coverage <= 1:
            raise ConfigError(f"character_coverage must lie in 0.9..1, got {self.character_coverage}")
        if self.max_train_bytes < 1:
            raise ConfigError(f"max_train_bytes must be at least 1, got {self.max_train_bytes}")


def train_text_tokenizer(texts: Iterable[str], out: Path, config: TextTrainConfig) -> Path:
    """Train a lossless BPE model on `texts` and write it to `out` atomically; returns `out`.

    Ids: 0 <unk>, 1 bos, 2 eos, 3 `<vision>`, 4 `</vision>`, then 256 bytes, then pieces. The model has no normalization
    and inserts no space before the first word; it keeps runs of spaces and has one piece per digit. A few built-in
    sentences are always part of the corpus, so that even an empty one yields a usable model.

    The bytes of the model depend only on the set of texts, the configuration and the version of SentencePiece, not on
    the order of the texts or on the process. Memory: about five times `max_train_bytes`. Raises ConfigError if the
    texts contain more distinct characters than fit in `vocab_size`.
    """
    lines = (line for block in [_SEED_TEXT, *_sample(texts, config)] for line in _LINE_ENDS.split(block) if line)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type="bpe",
            vocab_size=config.vocab_size,
            hard_vocab_limit=False,
            character_coverage=config.character_coverage,
            required_chars=_SPACE,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            user_defined_symbols=[BEGIN_VISION, END_VISION],
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,  # stored in the model
            minloglevel=2,
        )
    except RuntimeError as e:
        raise ConfigError(
            f"SentencePiece cannot train with vocab_size={config.vocab_size} and "
            f"character_coverage={config.character_coverage}: {e}. Increase vocab_size or decrease character_coverage"
        ) from e
    with atomic(out) as temporary:
        temporary.write_bytes(model.getvalue())
    return out


_SEED_TEXT = (
    "A film is a row of pictures, and a book is a row of words.\n"
    "The camera waits at the door; somebody walks in, looks around and says: what happened here?\n"
    "At 7:45 the rain had stopped. Two children ran down to the river (it was still high) and threw stones.\n"
)
# SentencePiece skips lines that contain U+2585, its symbol for an unknown character.
_LINE_ENDS = re.compile("[\n\u2585]")


def _sample(texts: Iterable[str], config: TextTrainConfig) -> list[str]:
    """Return blocks of `texts`, at most `max_train_bytes`: those with the smallest hashes of seed and content."""
    key = config.seed.to_bytes(16, "big", signed=True)
    kept: list[tuple[int, bytes]] = []
    size, limit = 0, 1 << 64  # `limit`: the smallest rank dropped so far; ranks from there on are dropped
    for text in texts:
        for block in blocks([text]):
            data = block.encode(errors="replace")
            rank = int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "big")
            if rank >= limit:
                continue
            heappush(kept, (-rank, data))
            size += len(data)
            while size > config.max_train_bytes:
                largest, dropped = heappop(kept)
                limit, size = -largest, size - len(dropped)
    return [data.decode() for negative, data in sorted(kept) if -negative < limit]


def _joined(ids: Sequence[NDArray[Any]]) -> NDArray[np.uint32]:
    found = ids[0] if len(ids) == 1 else np.concatenate([np.empty(0, np.int32), *(part.view(np.int32) for part in ids)])
    return found.view(np.uint32)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as e:
        raise InputError(
            Reason.NOT_TEXT,
            f"the text contains an unpaired surrogate ({text[e.start]!a}): correct the encoding of the source",
        ) from e


def _processor(model: bytes, *, name: str) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, ValueError) as e:
        raise ConfigError(f"{name} is not a SentencePiece model: {e}") from e


def _normalizer(model: bytes) -> sentencepiece.SentencePieceNormalizer | None:
    """Return the model's normalization rule without its treatment of spaces, or None if it has no rule."""
    rule = sentencepiece.SentencePieceNormalizer(
        model_proto=model, add_dummy_prefix=False, remove_extra_whitespaces=False, escape_whitespaces=False
    )
    return rule if len(rule.serialized_normalizer_spec()) > _SMALLEST_CHARSMAP else None
