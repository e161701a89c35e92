"""Converts a SentencePiece BPE model to a tokenizer.json, for programs that do not read tokenizer.model.

`transformers` converts by itself, but only with a protobuf as new as the one that SentencePiece was built with, which
Apache Beam does not allow. BPE in SentencePiece merges the pair whose piece has the highest score; in `tokenizers`, the
pair that comes first in a list. The list has all pairs that form a piece, by its score.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.weight_files.sentencepiece_proto import Piece, PieceType, read_pieces, read_settings

_SPACE, _BOS = "\u2581", "<s>"
_ADDED = (PieceType.UNKNOWN, PieceType.CONTROL, PieceType.USER_DEFINED)
_FLAGS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)


def tokenizer_json_of(model: bytes) -> bytes | None:
    """Return the tokenizer.json of a model; None if it is not BPE with byte fallback and without normalization."""
    try:
        settings, pieces = read_settings(model), read_pieces(model)
    except ValueError:
        return None
    vocab = {piece.text: i for i, piece in enumerate(pieces)}
    has_bytes = sum(piece.type == PieceType.BYTE for piece in pieces) == 256
    if not settings.is_bpe or settings.normalizes or settings.spaces_last or not has_bytes or len(vocab) < len(pieces):
        return None
    unknown = next((piece.text for piece in pieces if piece.type == PieceType.UNKNOWN), None)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    prefix = [{"type": "Prepend", "prepend": _SPACE}] if settings.adds_prefix else []
    values = {
        "version": "1.0",
        "added_tokens": [_added(i, piece) for i, piece in enumerate(pieces) if piece.type in _ADDED],
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, spaces]},
        "pre_tokenizer": None,
        "post_processor": bos_template(_BOS, vocab[_BOS]) if _BOS in vocab else None,
        "decoder": {"type": "Sequence", "decoders": list(_decoders(adds_prefix=settings.adds_prefix))},
        "model": {
            "type": "BPE",
            "unk_token": unknown,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocab,
            "merges": _merges(pieces, vocab),
        },
    }
    return json.dumps(values, ensure_ascii=False).encode()


def bos_template(text: str, i: int) -> dict[str, Any]:
    """Return the post-processor that adds bos, as `transformers` expects of a tokenizer.json."""
    bos = {"SpecialToken": {"id": text, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": n}} for n, name in enumerate("AB"))
    token = {text: {"id": text, "ids": [i], "tokens": [text]}}
    return {"type": "TemplateProcessing", "single": [bos, first], "pair": [bos, first, second], "special_tokens": token}


def _merges(pieces: Sequence[Piece], vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    found: list[tuple[float, int, int, str, str]] = []
    for piece in pieces:
        if piece.type != PieceType.NORMAL:
            continue
        for at in range(1, len(piece.text)):
            left, right = piece.text[:at], piece.text[at:]
            if left in vocab and right in vocab:
                found.append((-piece.score, vocab[left], vocab[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _decoders(*, adds_prefix: bool) -> Iterator[dict[str, Any]]:
    yield {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    yield {"type": "ByteFallback"}
    yield {"type": "Fuse"}
    if adds_prefix:
        yield {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def _added(i: int, piece: Piece) -> dict[str, Any]:
    return {"id": i, "content": piece.text, "special": piece.type != PieceType.USER_DEFINED, **_FLAGS}
