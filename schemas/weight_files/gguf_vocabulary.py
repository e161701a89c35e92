"""Converts the files of a text tokenizer to the metadata of a .gguf file; `gguf_tokenizer.py` reads it.

llama.cpp tokenizes text by it, so only tokenizers that it computes in the same way are converted: byte-level BPE with a
pre-tokenizer that it knows by name, and BPE of SentencePiece without normalization. Ids behind the tokenizer's own,
such as vision codes, are unused tokens, which no text produces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import ConfigError
from schemas.weight_files import gguf_pre_tokenizers
from schemas.weight_files.gguf import Value
from schemas.weight_files.sentencepiece_proto import Piece, PieceType, read_pieces, read_settings

_PREFIX = "tokenizer.ggml."
_ENDS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
_Converted = tuple[dict[str, Value], list[Piece]]


def vocabulary_metadata(
    main: bytes, config: Mapping[str, Any], *, size: int, bos_id: int, eos_id: int
) -> dict[str, Value]:
    """Return the metadata of a vocabulary of `size` ids.

    `main` is a tokenizer.model or a tokenizer.json, `config` the values of tokenizer_config.json. Raises ConfigError
    if llama.cpp has no tokenizer that computes the same.
    """
    values, pieces = _converted(main)
    if len(pieces) > size:
        raise ConfigError(f"the text tokenizer has {len(pieces)} ids, and the model {size}")
    pieces += [_unused(i) for i in range(len(pieces), size)]
    values |= {
        "tokens": [piece.text for piece in pieces],
        "token_type": [int(piece.type) for piece in pieces],
        "scores": [piece.score for piece in pieces],
    }
    values |= _ends(config, pieces) | {"bos_token_id": bos_id, "eos_token_id": eos_id}
    found: dict[str, Value] = {_PREFIX + name: value for name, value in values.items()}
    if isinstance(template := config.get("chat_template"), str):
        found["tokenizer.chat_template"] = template
    return found


def _converted(main: bytes) -> _Converted:
    """Return the metadata that is not of single ids, and the piece of each id."""
    convert = _byte_level if main.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else _sentencepiece
    try:
        return convert(main)
    except ConfigError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise ConfigError(f"the text tokenizer is malformed: {type(e).__name__} {e}") from e


def _unused(i: int) -> Piece:
    return Piece(f"[id {i}]", 0.0, PieceType.UNUSED)


def _ends(config: Mapping[str, Any], pieces: Sequence[Piece]) -> dict[str, Value]:
    """Return the ids of special tokens, and whether a text begins with one."""
    ids = {piece.text: i for i, piece in enumerate(pieces)}
    found: dict[str, Value] = {
        f"{name}_token_id": ids[config[key]]
        for key, name in _ENDS.items()
        if isinstance(config.get(key), str) and config[key] in ids
    }
    for name in ("bos", "eos"):
        if isinstance(adds := config.get(f"add_{name}_token"), bool):
            found[f"add_{name}_token"] = adds
    return found


def _sentencepiece(main: bytes) -> _Converted:
    settings, pieces = read_settings(main), read_pieces(main)
    if not settings.is_bpe or settings.normalizes or settings.spaces_last:
        raise ConfigError(
            "llama.cpp has no SentencePiece tokenizer of this kind: it merges pairs (BPE), does not normalize, and has "
            "spaces at the start of pieces. Export with --format hf"
        )
    return {"model": "llama", "pre": "default", "add_space_prefix": settings.adds_prefix}, pieces


def _byte_level(main: bytes) -> _Converted:
    values = json.loads(main.decode("utf-8-sig"))
    model = values["model"]
    name = gguf_pre_tokenizers.name_of(values.get("pre_tokenizer"))
    is_same = name is not None and (
        values.get("normalizer") == gguf_pre_tokenizers.normalizer(name)
        and bool(model.get("ignore_merges")) == gguf_pre_tokenizers.keeps_whole_tokens(name)
    )
    if name is None or not is_same:
        raise ConfigError(
            "llama.cpp has no tokenizer that splits text as this tokenizer.json does; known are "
            f"{', '.join(gguf_pre_tokenizers.KNOWN)}. Export with --format hf"
        )
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return {"model": "gpt2", "pre": name, "merges": merges}, _pieces(model["vocab"], values.get("added_tokens") or ())


def _pieces(vocab: Mapping[str, int], added: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """Return the piece of each id; an id without a token is unused."""
    found = {i: Piece(text, 0.0, PieceType.NORMAL) for text, i in vocab.items()}
    for token in added:
        kind = PieceType.CONTROL if token.get("special") else PieceType.USER_DEFINED
        found[token["id"]] = Piece(token["content"], 0.0, kind)
    return [found.get(i, _unused(i)) for i in range(max(found, default=-1) + 1)]
