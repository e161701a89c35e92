"""A published model: its files, configuration, names and token ids, found from a folder, a file or `params::FILE`.

| source | recognized by |
|---|---|
| Hugging Face | a folder with config.json and model*.safetensors or pytorch_model*.bin; or one of these files |
| GGUF | a file that begins with GGUF |
| Meta | a folder with params.json and consolidated.NN.pth |
| LWM | `params::FILE`, `trainstate_params::FILE` or `flax_params::FILE`; or a msgpack file |

A folder with vision_config.json, or a GGUF file with such a field, is an export of Longreel: its tables hold text and
then vision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from schemas.vocab import Vocabulary
from schemas.weight_files.gguf import MAGIC
from trainer.model.llama.config import LlamaConfig
from trainer.published import names
from trainer.published.configs import gguf as gguf_config
from trainer.published.configs import hugging_face, lwm, meta
from trainer.published.configs.fields import Fields
from trainer.published.files.gguf import read_gguf
from trainer.published.files.msgpack import read_msgpack
from trainer.published.files.safetensors import json_object, read_safetensors, read_sharded
from trainer.published.files.tensor import Tensors, read_bytes, require_file
from trainer.published.files.torch import read_consolidated, read_torch

VISION_CONFIG = "vision_config.json"
GGUF_VISION = "longreel.vision_config"  # the same as a field of GGUF
_LWM_KINDS = ("params", "trainstate_params", "flax_params")
_MAX_CONFIG_BYTES = 16 << 20
_LLAMA_3_IDS, _LLAMA_3_ENDS = 128256, (128000, 128001)  # of LLaMA 3; LLaMA 1 and 2 have bos 1 and eos 2
# The longest of these names that exists in a folder; an index lists the shards of the file after it.
_HF_FILES = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
# Which describe the text tokenizer; the hash of the first that exists identifies it.
TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json")
GENERATION_CONFIG = "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_MORE_TOKENIZER_FILES = (
    *(TOKENIZER_CONFIG, "special_tokens_map.json", "chat_template.jinja", "added_tokens.json"),
    GENERATION_CONFIG,
)
_VISION = "longreel.vision."  # before the names of the vision rows of a joint table


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published model; its tensors are read when they are needed."""

    path: Path
    kind: str  # huggingface, gguf, meta or lwm
    config: LlamaConfig
    naming: names.Naming
    tensors: Tensors
    bos_id: int | None
    eos_id: int | None
    vocabulary: Vocabulary | None = None  # of an export of Longreel

    @property
    def files(self) -> list[Path]:
        """The files of the source, for its record."""
        if self.path.is_file():
            return [self.path]
        return sorted(path for path in self.path.iterdir() if path.is_file())

    @property
    def folder(self) -> Path:
        """The folder of the source."""
        return self.path if self.path.is_dir() else self.path.parent

    def table_rows(self, name: str) -> int:
        """Return the number of ids of an embedding or head, 0 if the source has none."""
        tensor = self.tensors.get(self.naming.tables.get(name, ""))
        if tensor is None or len(tensor.shape) != 2:
            return 0
        is_transposed = name in (names.TEXT_HEAD, names.VISION_HEAD) and not self.naming.outputs_first
        return tensor.shape[1 if is_transposed else 0]


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the files of a text tokenizer, and of generation, that are in a folder."""
    return [folder / name for name in (*TOKENIZER_FILES, *_MORE_TOKENIZER_FILES) if (folder / name).is_file()]


def open_source(source: str, *, heads: int | None = None, rope_theta: float | None = None) -> Published:
    """Open a published model; `heads` and `rope_theta` are for LWM, whose files hold neither.

    Raises ConfigError if files are missing or malformed, or the model needs what Longreel does not have.
    """
    kind, colons, rest = source.partition("::")
    if colons:
        if kind not in _LWM_KINDS:
            raise ConfigError(f"{source!r}: before :: stands one of {', '.join(_LWM_KINDS)}, got {kind!r}")
        return _open_lwm(Path(rest), heads=heads, rope_theta=rope_theta)
    path = Path(source)
    found = _open_folder(path) if path.is_dir() else _open_file(path, heads=heads, rope_theta=rope_theta)
    if rope_theta is not None and found.kind != "lwm":
        return replace(found, config=replace(found.config, rope_theta=rope_theta))
    return found


def _open_folder(path: Path) -> Published:
    for name in _HF_FILES:
        if (path / name).exists():
            reader = read_safetensors if "safetensors" in name else read_torch
            is_index = name.endswith(".index.json")
            return _open_hf(path, read_sharded(path / name, reader) if is_index else reader(path / name))
    if (path / "params.json").exists():
        return _open_meta(path)
    single = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.gguf"))
    if len(single) == 1:
        return _open_file(single[0])
    raise ConfigError(
        f"{path} has none of {', '.join(_HF_FILES)}, params.json with consolidated.NN.pth, and not exactly one "
        ".safetensors or .gguf file: name the folder, or the file, of a published model"
    )


def _open_file(path: Path, *, heads: int | None = None, rope_theta: float | None = None) -> Published:
    size = require_file(path)
    head = read_bytes(path, 0, min(size, 16))
    if head[:4] == MAGIC:
        return _open_gguf(path)
    if head[4:9] == b"\0\0\0\0{":
        return replace(_open_hf(path.parent, read_safetensors(path)), path=path)
    if path.name.startswith("consolidated."):
        return _open_meta(path.parent)
    if head[:4] == b"PK\x03\x04":
        return replace(_open_hf(path.parent, read_torch(path)), path=path)
    if head[:1] and (head[0] in (0x92, 0xDE, 0xDF) or 0x81 <= head[0] <= 0x8F):
        return _open_lwm(path, heads=heads, rope_theta=rope_theta)
    raise ConfigError(f"{path} is not a supported file of weights: give safetensors, GGUF, torch or msgpack")


def _open_hf(folder: Path, tensors: Tensors) -> Published:
    values = _json(folder / "config.json")
    try:
        config, fields = hugging_face.read_config(values), Fields(values)
        bos, eos = fields.first_id("bos_token_id"), fields.first_id("eos_token_id")
    except ConfigError as e:
        raise _in(folder / "config.json", e) from e
    found = Published(
        path=folder,
        kind="huggingface",
        config=config,
        naming=names.HUGGING_FACE,
        tensors=tensors,
        bos_id=bos,
        eos_id=eos,
    )
    path = folder / VISION_CONFIG
    return _split_tables(found, _json(path), path) if path.exists() else found


def _split_tables(found: Published, values: Mapping[str, Any], path: Path) -> Published:
    """Take the joint tables of an export of Longreel apart, as `values` in the file `path` describe them."""
    try:
        vocabulary = Vocabulary.from_dict(values["vocabulary"])
        config = replace(found.config, softmax=values["softmax"])
        tables, tensors = dict(found.naming.tables), dict(found.tensors)
        for text, vision in (
            (names.TEXT_EMBEDDING, names.VISION_EMBEDDING),
            (names.TEXT_HEAD, names.VISION_HEAD),
        ):
            name = tables[text]
            if (joint := tensors.get(name)) is None:
                continue
            if len(joint.shape) != 2 or joint.shape[0] != vocabulary.size:
                raise ConfigError(f"{name} must have {vocabulary.size} rows, got the shape {joint.shape}")
            tables[vision] = _VISION + name
            tensors[name] = joint.part(0, vocabulary.text_size)
            tensors[tables[vision]] = joint.part(vocabulary.text_size, vocabulary.size)
    except (ConfigError, KeyError, TypeError) as e:
        raise ConfigError(f"{path} does not describe the tables of the model: {e}") from e
    naming = replace(found.naming, tables=tables)
    return replace(found, vocabulary=vocabulary, config=config, naming=naming, tensors=tensors)


def _open_gguf(path: Path) -> Published:
    metadata, tensors = read_gguf(path)
    try:
        config, fields = gguf_config.read_metadata(metadata, tensors), Fields(metadata)
        bos, eos = fields.first_id("tokenizer.ggml.bos_token_id"), fields.first_id("tokenizer.ggml.eos_token_id")
    except ConfigError as e:
        raise _in(path, e) from e
    naming = names.gguf(str(metadata["general.architecture"]))
    found = Published(path=path, kind="gguf", config=config, naming=naming, tensors=tensors, bos_id=bos, eos_id=eos)
    if (vision := metadata.get(GGUF_VISION)) is None:
        return found
    try:
        values = json_object(str(vision).encode())
    except ConfigError as e:
        raise _in(path, e) from e
    return _split_tables(found, values, path)


def _open_meta(folder: Path) -> Published:
    values = _json(folder / "params.json")
    try:
        tensors = read_consolidated(folder, dim=Fields(values).size("dim"))
        gate = tensors.get("layers.0.feed_forward.w1.weight")
        if gate is None or not gate.shape:
            raise ConfigError("there is no layers.0.feed_forward.w1.weight in consolidated.NN.pth")
        config = meta.read_params(values, ff_dim=gate.shape[0])
    except ConfigError as e:
        raise _in(folder, e) from e
    table = tensors.get("tok_embeddings.weight")
    bos, eos = _LLAMA_3_ENDS if table is not None and table.shape[:1] == (_LLAMA_3_IDS,) else (1, 2)
    return Published(
        path=folder, kind="meta", config=config, naming=names.META, tensors=tensors, bos_id=bos, eos_id=eos
    )


def _open_lwm(path: Path, *, heads: int | None, rope_theta: float | None) -> Published:
    tensors = read_msgpack(path)
    try:
        apart = lwm.per_layer(tensors)
        config = lwm.read_shapes(apart, heads=heads, rope_theta=rope_theta)
    except ConfigError as e:
        raise _in(path, e) from e
    return Published(path=path, kind="lwm", config=config, naming=names.LWM, tensors=apart, bos_id=1, eos_id=2)


def _json(path: Path) -> Mapping[str, Any]:
    size = require_file(path)
    if size > _MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} has {size} bytes, more than a configuration")
    try:
        return json_object(read_bytes(path, 0, size))
    except ConfigError as e:
        raise _in(path, e) from e


def _in(path: Path, error: ConfigError) -> ConfigError:
    """Return the error with the path before its message."""
    return error if str(path) in str(error) else ConfigError(f"{path}: {error}")
