from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from schemas.errors import ConfigError
from schemas.weight_files.gguf import read_header


def write(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("tokenizer.chat_template", "{{ messages }}")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 1e5)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_array("tokenizer.ggml.tokens", ["a", "é", "<s>"])
    writer.add_array("tokenizer.ggml.token_type", [1, 1, 3])
    writer.add_tensor("a.weight", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("b.weight", np.arange(4, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_metadata_and_tensors_are_those_that_the_gguf_package_writes(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf")
    header = read_header(tmp_path / "m.gguf")
    assert header.metadata["tokenizer.chat_template"] == "{{ messages }}"
    assert header.metadata["llama.block_count"] == 2
    assert header.metadata["llama.rope.freq_base"] == 1e5
    assert header.metadata["tokenizer.ggml.add_bos_token"] is False
    assert header.metadata["tokenizer.ggml.tokens"] == ["a", "é", "<s>"]
    assert header.metadata["tokenizer.ggml.token_type"] == [1, 1, 3]
    whole = (tmp_path / "m.gguf").read_bytes()
    a, b = header.tensors["a.weight"], header.tensors["b.weight"]
    assert (a.shape, a.type_id, b.shape, b.type_id) == ((2, 3), 0, (4,), 1)
    np.testing.assert_array_equal(np.frombuffer(whole, np.float32, 6, a.offset), np.arange(6))
    np.testing.assert_array_equal(np.frombuffer(whole, np.float16, 4, b.offset), np.arange(4))


def test_surrogates_do_not_reject_a_vocabulary_with_pieces_of_single_bytes(tmp_path: Path) -> None:
    entry = _string(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 1) + _string(b"\xff")
    (tmp_path / "m.gguf").write_bytes(_header(entries=1) + entry)
    assert read_header(tmp_path / "m.gguf").metadata["tokenizer.ggml.tokens"] == ["\udcff"]


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _header(*, tensors: int = 0, entries: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries)


_HUGE = 1 << 60
_ENTRY = _string(b"k")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGML" + bytes(20), "its first bytes are not GGUF"),
        (b"", "claims 4 bytes where 0 are left"),
        (_header(version=1), "GGUF version 1 is not supported"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version 50331648 is not supported"),
        (_header(tensors=_HUGE) + bytes(99), f"claims {_HUGE} entries"),
        (_header(entries=_HUGE) + bytes(99), f"claims {_HUGE} entries"),
        (_header(entries=1) + struct.pack("<Q", _HUGE) + bytes(9), f"claims {_HUGE} bytes"),
        (_header(entries=1) + _ENTRY + struct.pack("<I", 13), "a value of type 13"),
        (_header(entries=1) + _ENTRY + struct.pack("<IIQ", 9, 9, 1) + bytes(99), "a value of type 9"),
        (_header(entries=1) + _ENTRY + struct.pack("<IIQ", 9, 8, _HUGE) + bytes(99), f"claims {_HUGE} entries"),
        (_header(entries=1) + _ENTRY + struct.pack("<IIQ", 9, 4, _HUGE) + bytes(99), "where 99 are left"),
        (_header(entries=1) + _string(b"general.alignment") + struct.pack("<II", 4, 3), "power of two, got 3"),
        (_header(tensors=1) + _ENTRY + struct.pack("<I", 9) + bytes(99), "has 9 dims"),
        (_header(tensors=2) + 2 * (_ENTRY + struct.pack("<IQIQ", 1, 4, 0, 0)), "two of its tensors are named 'k'"),
    ],
)
def test_a_malformed_header_is_one_clear_error(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(ConfigError, match=message) as e:
        read_header(tmp_path / "m.gguf")
    assert "m.gguf" in str(e.value)


def test_a_header_that_is_cut_anywhere_is_one_clear_error(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    end = read_header(tmp_path / "m.gguf").tensors["a.weight"].offset
    for length in range(0, end - 32, 7):
        (tmp_path / "m.gguf").write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=r"m\.gguf"):
            read_header(tmp_path / "m.gguf")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing.gguf does not exist"):
        read_header(tmp_path / "missing.gguf")
