"""Reads and writes the protobuf of a SentencePiece model, as far as its pieces are concerned.

ModelProto has the repeated field 1, pieces: {1: piece, 2: score, 3: type}, and the messages 2, trainer_spec, and 3,
normalizer_spec. The generated module in the package `sentencepiece` needs a newer protobuf than Apache Beam allows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple

from schemas.errors import ConfigError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BPE = 2  # trainer_spec.model_type
_FIRST_ID, _FIRST_NAME = 40, 45  # fields of trainer_spec: unk_id, bos_id, eos_id, pad_id; unk_piece, bos_piece, ...
_NO_ID = (1 << 64) - 1  # the int32 -1 is encoded as 64 bits
_FIXED = {_FIXED64: 8, _FIXED32: 4}


class PieceType(IntEnum):
    """The types of pieces; GGUF files have the same numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Piece(NamedTuple):
    """An id of a model."""

    text: str
    score: float
    type: PieceType


def read_pieces(model: bytes) -> list[Piece]:
    """Return the pieces of a model in the order of their ids; raises ConfigError if it is not a SentencePiece model."""
    with _malformed_is_an_error():
        return [_piece(value) for number, value in _fields(model) if number == 1 and isinstance(value, bytes)]


class Settings(NamedTuple):
    """What a model does besides merging pieces."""

    is_bpe: bool
    normalizes: bool  # has a table of replacements
    adds_prefix: bool
    spaces_last: bool  # spaces are at the ends of pieces


def read_settings(model: bytes) -> Settings:
    """Return the settings of a model; raises ConfigError if it is not a SentencePiece model."""
    with _malformed_is_an_error():
        parts = {number: value for number, value in _fields(model) if number in (2, 3) and isinstance(value, bytes)}
        trainer, normalizer = (dict(_fields(parts.get(number, b""))) for number in (2, 3))
    charsmap = normalizer.get(2, b"")
    return Settings(
        is_bpe=trainer.get(3) == _BPE,
        normalizes=isinstance(charsmap, bytes) and len(charsmap) > 0,
        adds_prefix=bool(normalizer.get(3, 1)),
        spaces_last=bool(trainer.get(24, 0)),
    )


def write_model(pieces: Sequence[Piece], *, names: Mapping[str, str | None], adds_prefix: bool) -> bytes:
    """Return a BPE model with these pieces, without a normalization rule.

    `names` of the pieces "unk", "bos", "eos" and "pad"; `adds_prefix`: a space is added before the first word.
    """
    ids = {piece.text: i for i, piece in enumerate(pieces)}
    has_bytes = any(piece.type == PieceType.BYTE for piece in pieces)
    found = [(names.get(key) or "", n) for n, key in enumerate(("unk", "bos", "eos", "pad"))]
    trainer = {3: _BPE, 4: len(pieces), 35: int(has_bytes)}
    trainer |= {_FIRST_ID + n: ids.get(name, _NO_ID) for name, n in found}
    texts = b"".join(_text(_FIRST_NAME + n, name) for name, n in found if name)
    normalizer = _text(1, "identity") + _numbers({3: int(adds_prefix), 4: 0, 5: 1})
    body = b"".join(_message(1, _piece_bytes(piece)) for piece in pieces)
    return body + _message(2, _numbers(trainer) + texts) + _message(3, normalizer)


@contextmanager
def _malformed_is_an_error() -> Iterator[None]:
    try:
        yield
    except (ValueError, struct.error) as e:
        raise ConfigError(f"it is not a SentencePiece model: {e}") from e


def _piece(data: bytes) -> Piece:
    text, score, kind = b"", 0.0, PieceType.NORMAL
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            text = value
        elif number == 2 and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif number == 3 and isinstance(value, int):
            kind = PieceType(value)
    return Piece(text.decode(), score, kind)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) of a message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        size, at = _varint(data, at) if wire == _BYTES else (_FIXED.get(wire, -1), at)
        if size < 0 or at + size > len(data):
            raise ValueError(f"field {number} at byte {at} is malformed")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for i in range(at, min(at + 10, len(data))):
        value |= (data[i] & 0x7F) << shift
        shift += 7
        if data[i] < 0x80:
            return value, i + 1
    raise ValueError(f"the number at byte {at} is malformed")


def _piece_bytes(piece: Piece) -> bytes:
    return _text(1, piece.text) + _tag(2, _FIXED32) + struct.pack("<f", piece.score) + _numbers({3: piece.type})


def _numbers(values: dict[int, int]) -> bytes:
    return b"".join(_tag(number, _VARINT) + _number(value) for number, value in values.items())


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _message(number: int, data: bytes) -> bytes:
    return _tag(number, _BYTES) + _number(len(data)) + data


def _tag(number: int, wire: int) -> bytes:
    return _number(number << 3 | wire)


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
