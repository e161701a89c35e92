"""The files of a text tokenizer: where it comes from, and what is kept of it.

A tokenizer is read from a SentencePiece .model file, a tokenizer.json of the library `tokenizers`, the folder of a
published model, or the metadata of a .gguf file. What is kept, and what `TokenizerFiles.write` writes, is always

    tokenizer.model or tokenizer.json    the vocabulary, byte by byte as published; its SHA-256 identifies the tokenizer
    tokenizer.json                       the same as tokenizer.model, if it can be converted, for other programs
    tokenizer_config.json                names of special tokens and the chat template, as `transformers` reads them
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from schemas.files import atomic
from schemas.storage.location import Location
from schemas.storage.regular import open_regular
from schemas.weight_files.gguf import MAGIC as GGUF_MAGIC
from schemas.weight_files.gguf_tokenizer import convert_gguf
from schemas.weight_files.sentencepiece_json import tokenizer_json_of
from schemas.weight_files.sentencepiece_proto import read_pieces

MODEL, JSON, CONFIG, TEMPLATE = "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"

_LIMITS = {MODEL: 1 << 28, JSON: 1 << 26, CONFIG: 1 << 24, TEMPLATE: 1 << 20}  # bytes
_GGUF_LIMIT = 1 << 60
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
_KEPT = (
    *_SPECIAL,
    "tokenizer_class",
    "add_bos_token",
    "add_eos_token",
    "clean_up_tokenization_spaces",
    "legacy",
    "model_max_length",
    "chat_template",
)
_OTHERS = {
    "vocab.json": "vocab.json and merges.txt are the older form of a tokenizer.json",
    "tiktoken.model": "tiktoken.model is the older form of a tokenizer.json",
}


@dataclass(frozen=True)
class TokenizerFiles:
    """The content of the files of a tokenizer."""

    main_name: str  # MODEL or JSON
    main: bytes
    config: Mapping[str, Any]  # of tokenizer_config.json

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the main file."""
        return hashlib.sha256(self.main).hexdigest()

    def contents(self) -> dict[str, bytes]:
        """Return the files, by name."""
        config = json.dumps(self.config, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        files = {self.main_name: self.main, CONFIG: config.encode()}
        converted = tokenizer_json_of(self.main) if self.main_name == MODEL else None
        return files if converted is None else files | {JSON: converted}

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each file, by name."""
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.contents().items()}

    def with_config(self, **values: Any) -> TokenizerFiles:
        """Return the files with other values in the configuration; those that are None do not change it."""
        return replace(self, config={**self.config, **{k: v for k, v in values.items() if v is not None}})

    def write(self, folder: Location | Path) -> None:
        """Write the files to `folder`, each atomically: what `transformers`, vLLM and `TextTokenizer.load` read."""
        for name, data in self.contents().items():
            with atomic(folder / name) as temporary:
                temporary.write_bytes(data)


def read_tokenizer_files(path: Path) -> TokenizerFiles:
    """Read the tokenizer at `path`, a file or a folder; raises ConfigError if there is none."""
    if path.is_dir():
        return _read_folder(path)
    with_config = path.name in (MODEL, JSON)  # the files next to any other file belong to something else
    config = _read_config(path.parent) if with_config else {}
    head = _read(path, limit=_GGUF_LIMIT, first=4096)
    if head.startswith(GGUF_MAGIC):
        main_name, main, found = convert_gguf(path)
        return TokenizerFiles(main_name, main, _kept(found, path))
    name = JSON if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else MODEL
    return TokenizerFiles(name, _read(path, limit=_LIMITS[name]), config)


def _read_folder(folder: Path) -> TokenizerFiles:
    found = {name: _read(folder / name, limit=_LIMITS[name]) for name in (MODEL, JSON) if (folder / name).is_file()}
    if len(found) == 2:
        # A tokenizer.json may have tokens that were added to the model later. Otherwise, both are the same tokenizer.
        found.pop(MODEL if _has_added_tokens(found) else JSON)
    for name, data in found.items():
        return TokenizerFiles(name, data, _read_config(folder))
    if len(gguf := sorted(folder.glob("*.gguf"))) == 1:
        return read_tokenizer_files(gguf[0])
    other = next((f": {why}" for name, why in _OTHERS.items() if (folder / name).is_file()), "")
    raise ConfigError(
        f"the folder {folder} has no text tokenizer ({MODEL} or {JSON}){other}. Save the tokenizer with "
        "save_pretrained of `transformers`, or name the file"
    )


def read_template(path: Path) -> str:
    """Return the chat template in a file of Jinja; raises ConfigError if it cannot be read, or is too large."""
    return _read(path, limit=_LIMITS[TEMPLATE]).decode("utf-8", errors="replace")


def _has_added_tokens(found: Mapping[str, bytes]) -> bool:
    """Return whether tokenizer.json has ids that tokenizer.model does not have."""
    try:
        size = len(read_pieces(found[MODEL]))
        added = parse_json_object(found[JSON], JSON).get("added_tokens") or []
        return size == 0 or any(token["id"] >= size for token in added)
    except (ValueError, TypeError, KeyError):
        return True  # tokenizer.model is not of SentencePiece (tiktoken)


def _read_config(folder: Path) -> dict[str, Any]:
    config = _read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    if (folder / TEMPLATE).is_file():
        config["chat_template"] = read_template(folder / TEMPLATE)
    return _kept(config, folder / CONFIG)


def _kept(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the entries that are kept, with special tokens by name; `path` is named in errors."""
    kept = {key: config[key] for key in _KEPT if config.get(key) is not None}
    for key in _SPECIAL:
        if isinstance(token := kept.get(key), dict):
            kept[key] = token.get("content")
        if not isinstance(kept.get(key, ""), str):
            raise ConfigError(f"{path}: {key} must be a string, got {config[key]!r:.60}")
    return kept


def _read_json(path: Path) -> dict[str, Any]:
    return parse_json_object(_read(path, limit=_LIMITS[CONFIG]), str(path))


def parse_json_object(data: bytes, name: str) -> dict[str, Any]:
    """Return a JSON object; raises ConfigError if `data` is anything else."""
    try:
        values = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as e:
        what = "it is nested too deeply" if isinstance(e, RecursionError) else str(e)
        raise ConfigError(f"{name} is not valid JSON: {what}") from e
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must have a JSON object, got a {type(values).__name__}")
    return values


def _read(path: Path, *, limit: int, first: int | None = None) -> bytes:
    try:
        if (size := path.stat().st_size) > limit:
            raise ConfigError(f"{path} has {size:,} bytes, too many for a text tokenizer (at most {limit:,})")
        with open_regular(path) as stream:
            return stream.read() if first is None else stream.read(first)
    except OSError as e:
        raise ConfigError(f"the text tokenizer {path} cannot be read: {e.strerror}") from e
