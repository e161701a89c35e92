"""A SentencePiece `.model` file, of any tokenizer: BPE (Sennrich et al. 2016, arXiv 1508.07909) or unigram.

SentencePiece itself loses text in three cases, which this module handles if the model has byte fallback and no
normalization rule:

* Runs of spaces, and leading and trailing spaces, are kept, even if the model's normalizer removes them.
* The space that some models insert before the first word is left to the `TextTokenizer`, which adds it once per text
  instead of once per call.
* "▁" (U+2581), which represents a space inside pieces, is encoded as bytes if the text contains it.

User-defined symbols in brackets, such as `<|im_start|>`, count as control tokens: a text that contains their name is
encoded as bytes.

If no piece crosses a newline or a space (LLaMA, Mistral, models trained here), the ids equal those of SentencePiece for
the whole text, and those of words are remembered (`word_cache`). In text without spaces (Chinese, Japanese) the pieces
at block boundaries, every 1,024 characters, can differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sentencepiece
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.weight_files.sentencepiece_proto import Piece, PieceType, read_pieces, read_settings
from schemas.weight_files.tokenizer_files import TokenizerFiles
from tokenizer.text.chunking import blocks
from tokenizer.text.model import BEGIN_VISION, END_VISION, TextModel, is_marker
from tokenizer.text.word_cache import WordCache, pieces_are_within_words

_SPACE = "\u2581"  # SentencePiece's visible space

# A protobuf parser merges appended fields. In the model's normalizer_spec (field 3), these bytes set an empty charsmap
# (2), add_dummy_prefix (3) = false and remove_extra_whitespaces (4) = false.
_KEEP_TEXT = b"\x1a\x06\x12\x00\x18\x00\x20\x00"
_SMALLEST_CHARSMAP = 1024  # bytes; a specification without a charsmap has a few dozen


class SentencePieceModel(TextModel):
    """A loaded model."""

    adds_prefix_once = False  # LLaMA adds it to the text after each control id

    def __init__(self, files: TokenizerFiles, *, name: str) -> None:
        model, self.name = files.main, name
        given = _processor(model, name=name)
        self._processor = _processor(model + _KEEP_TEXT, name=name)
        described = _pieces(model, name=name)
        symbols = {piece.text for piece in described if piece.type == PieceType.USER_DEFINED}
        self._normalizer = _normalizer(model)
        self.normalize = self._normalize if self._normalizer else None
        self.pieces = [given.id_to_piece(i) for i in range(len(given))]
        self.bytes = {int(piece[3:5], 16): i for i, piece in enumerate(self.pieces) if given.is_byte(i)}
        self.control = {piece: i for i, piece in enumerate(self.pieces) if given.is_control(i)}
        markers = tuple(sorted(filter(is_marker, symbols - {BEGIN_VISION, END_VISION})))
        self.control |= {marker: self.pieces.index(marker) for marker in markers}
        self.surfaces = tuple(self._surface(given, i) for i in range(len(given)))
        alone = given.normalize("a")
        self.prefix = " " if len(alone) > 1 and alone.endswith("a") else ""
        self.suffix = " " if len(alone) > 1 and alone.startswith("a") else ""
        ids = given.bos_id(), given.eos_id(), given.unk_id(), given.pad_id()
        self.bos_id, self.eos_id, self.unk_id, self.pad_id = (i if i >= 0 else None for i in ids)
        self.escaped = (*markers, _SPACE) if self.bytes else markers
        self._words = WordCache(self._encode) if self._divides_at_words(model, described) else None
        self.losses = tuple(self._find_losses())

    def blocks(self, chunks: Iterable[str]) -> Iterator[str]:
        """See `TextModel`."""
        return blocks(chunks)

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """See `TextModel`."""
        return self._encode(texts) if self._words is None else self._words.encode(texts)

    def _encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        # Bytes, as SentencePiece replaces a NUL character of a str.
        found: list[NDArray[Any]] = self._processor.encode(
            [text.encode() for text in texts], return_type="numpy", num_threads=1
        )
        return found

    def _divides_at_words(self, model: bytes, pieces: Iterable[Piece]) -> bool:
        """Return whether the ids of a text are those of its words.

        Without all bytes, U+2581 in a text is encoded as a space, or adjacent unknown characters share an id.
        """
        in_text = {PieceType.NORMAL, PieceType.USER_DEFINED, PieceType.UNUSED}
        texts = (piece.text.replace(_SPACE, " ") for piece in pieces if piece.type in in_text)
        return len(self.bytes) == 256 and read_settings(model).is_bpe and pieces_are_within_words(texts)

    def _normalize(self, text: str) -> str:
        assert self._normalizer is not None
        normalized: bytes = self._normalizer.Normalize(text.encode())
        return normalized.decode()

    def _surface(self, given: sentencepiece.SentencePieceProcessor, i: int) -> bytes:
        if given.is_control(i):
            return b""
        if given.is_byte(i):
            return bytes.fromhex(self.pieces[i][3:5])
        piece = given.decode([i]) if given.is_unknown(i) else self.pieces[i].replace(_SPACE, " ")
        return piece.encode()

    def _find_losses(self) -> Iterator[str]:
        if self._normalizer is not None:
            yield "its normalization rule (such as NFKC) replaces characters"
        if not self.bytes:
            yield "it has no byte fallback, so characters without a piece become <unk>"
        elif self._spaces() != b" a  b\n ":
            yield "it has no piece for a space"

    def _spaces(self) -> bytes:
        return b"".join(self.surfaces[i] for i in self.encode([" a  b\n "])[0].tolist())


def _pieces(model: bytes, *, name: str) -> list[Piece]:
    try:
        return read_pieces(model)
    except ConfigError as e:
        raise ConfigError(f"{name}: {e}") from e


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
