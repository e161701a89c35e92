"""Converts the tokenizer in the metadata of a .gguf file to a tokenizer.json or a SentencePiece model.

`tokenizer.ggml.model` says which: "gpt2" is byte-level BPE with merges, and `tokenizer.ggml.pre` names its
pre-tokenizer; "llama" is SentencePiece's BPE, whose pieces, scores and types are stored as they are in a .model file.
Unused tokens at the end, which pad the table of a model (Qwen), are left out, as in the published tokenizer.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from schemas.weight_files import gguf_pre_tokenizers
from schemas.weight_files.gguf import read_header
from schemas.weight_files.sentencepiece_json import bos_template
from schemas.weight_files.sentencepiece_proto import Piece, PieceType, write_model

_PREFIX = "tokenizer.ggml."

_Converted = tuple[str, bytes, dict[str, Any]]


def convert_gguf(path: Path) -> _Converted:
    """Return the name and content of the main file, and the configuration; raises ConfigError."""
    values = _metadata(path)
    try:
        kind = values["model"]
        if kind not in ("gpt2", "llama"):
            raise ConfigError(f"the tokenizer in {path} is of the kind {kind!r:.40}; gpt2 and llama are supported")
        pieces = _pieces(values)
        return _byte_level(values, pieces, path) if kind == "gpt2" else _sentencepiece(values, pieces)
    except (KeyError, IndexError, TypeError, ValueError) as e:
        what = f"it has no tokenizer.ggml.{e.args[0]}" if isinstance(e, KeyError) else str(e)
        raise ConfigError(f"{path} has no valid tokenizer: {what}") from e


def _metadata(path: Path) -> dict[str, Any]:
    header = read_header(path).metadata
    found: dict[str, Any] = {k.removeprefix(_PREFIX): v for k, v in header.items() if k.startswith(_PREFIX)}
    return found | {"chat_template": header.get("tokenizer.chat_template")}


def _pieces(values: Mapping[str, Any]) -> list[Piece]:
    tokens = values["tokens"]
    if not all(isinstance(token, str) for token in tokens):
        raise ConfigError("its tokens are not texts")
    types = values.get("token_type") or [PieceType.NORMAL] * len(tokens)
    scores = values.get("scores") or [0.0] * len(tokens)
    pieces = [Piece(t, float(s), PieceType(k)) for t, s, k in zip(tokens, scores, types, strict=True)]
    while pieces and pieces[-1].type == PieceType.UNUSED:
        pieces.pop()
    return pieces


def _config(values: Mapping[str, Any], pieces: list[Piece]) -> dict[str, Any]:
    keys = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: values.get(f"{key}_token_id") for name, key in keys.items()}
    names = {name: pieces[i].text for name, i in ids.items() if i is not None and i < len(pieces)}
    return names | {"add_bos_token": values.get("add_bos_token"), "chat_template": values["chat_template"]}


def _sentencepiece(values: Mapping[str, Any], pieces: list[Piece]) -> _Converted:
    config = _config(values, pieces)
    names = {key: config.get(f"{key}_token") for key in ("bos", "eos", "unk", "pad")}
    model = write_model(pieces, names=names, adds_prefix=values.get("add_space_prefix", True))
    return "tokenizer.model", model, config


def _byte_level(values: Mapping[str, Any], pieces: list[Piece], path: Path) -> _Converted:
    name = gguf_pre_tokenizers.resolved(values.get("pre", "default"))
    if name not in gguf_pre_tokenizers.KNOWN:
        known = ", ".join(gguf_pre_tokenizers.NAMES)
        raise ConfigError(
            f"the tokenizer in {path} has the pre-tokenizer {name!r:.40}; supported are {known}. "
            "Give the model's tokenizer.json instead"
        )
    config = _config(values, pieces)
    added = [i for i, piece in enumerate(pieces) if piece.type != PieceType.NORMAL]
    tokenizer = {
        "version": "1.0",
        "added_tokens": [_added(i, pieces[i]) for i in added],
        "normalizer": gguf_pre_tokenizers.normalizer(name),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": gguf_pre_tokenizers.splitters(name)},
        "post_processor": _template(values, pieces),
        "decoder": gguf_pre_tokenizers.BYTE_LEVEL | {"use_regex": True},
        "model": {
            "type": "BPE",
            "ignore_merges": gguf_pre_tokenizers.keeps_whole_tokens(name),
            "vocab": {piece.text: i for i, piece in enumerate(pieces)},
            "merges": values["merges"],
        },
    }
    return "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False).encode(), config


def _added(i: int, piece: Piece) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": i, "content": piece.text, "special": piece.type != PieceType.USER_DEFINED, **flags}


def _template(values: Mapping[str, Any], pieces: list[Piece]) -> dict[str, Any] | None:
    i = values.get("bos_token_id")
    return bos_template(pieces[i].text, i) if i is not None and values.get("add_bos_token") else None
