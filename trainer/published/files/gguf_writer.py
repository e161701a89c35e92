"""Writes a GGUF file block by block: its header with the package `gguf`, then the values of the tensors.

Matrices have the type of the export; vectors are float32, which llama.cpp requires of norms and biases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.storage.location import located
from schemas.weight_files.gguf import Value
from trainer.published.files.writers import DTYPES, Output, Sink, Written

_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_FILE_TYPES = {"float32": 0, "float16": 1, "bfloat16": 32}  # general.file_type
_ALIGNMENT = 32  # bytes, of every tensor


def write_gguf(path: Path, outputs: Sequence[Output], metadata: Mapping[str, Value], *, dtype: str) -> Written:
    """Write a file; `metadata` has general.architecture."""
    with located(path).writing() as temporary:
        _write_header(temporary, outputs, metadata, dtype)
        header = temporary.read_bytes()
        with temporary.open("wb") as file:
            sink = Sink(file)
            sink.write(header)
            sink.write(bytes(-sink.size % _ALIGNMENT))
            for output in outputs:
                for data in sink.values(output, _dtype(output, dtype)):
                    sink.write(data)
                sink.write(bytes(-sink.size % _ALIGNMENT))
    return Written(name=path.name, size_bytes=sink.size, sha256=sink.digest.hexdigest())


def _dtype(output: Output, dtype: str) -> str:
    return dtype if len(output.shape) > 1 else "float32"


def _write_header(path: Path, outputs: Sequence[Output], metadata: Mapping[str, Value], dtype: str) -> None:
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, str(metadata["general.architecture"]))
    writer.add_file_type(_FILE_TYPES[dtype])
    for key, value in metadata.items():
        if key != "general.architecture":  # which the writer adds
            _add(writer, key, value)
    for output in outputs:
        name = _dtype(output, dtype)
        kind = GGMLQuantizationType[_TYPES[name]]
        writer.add_tensor_info(output.name, output.shape, DTYPES[name], output.size_bytes(name), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _add(writer: Any, key: str, value: Value) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)
