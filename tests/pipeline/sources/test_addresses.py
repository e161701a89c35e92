"""Addresses of files whose names are not valid UTF-8."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.sources.addresses import BAD_NAME, address_of, is_bad_name, typed_name
from pipeline.sources.manifest import read_manifest
from schemas.errors import ManifestError

TEXT = "It was a bright cold day in April."


def named(folder: Path, name: bytes) -> Path:
    """Return the path of a file with these bytes as its name, which is written."""
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    path.write_text(TEXT)
    return path


def test_names_that_differ_in_one_byte_have_different_addresses(tmp_path: Path) -> None:
    names = (b"caf\xe9.txt", b"caf\xea.txt", b"caf\\xe9.txt", b"caf%E9.txt", "café.txt".encode())
    addresses = [address_of(named(tmp_path, name)) for name in names]
    assert len(set(addresses)) == len(names)
    assert addresses[0] == f"file://{tmp_path}/caf%E9.txt"
    assert addresses[3:] == [f"{tmp_path}/caf%E9.txt", f"{tmp_path}/café.txt"]
    assert [is_bad_name(address) for address in addresses] == [True, True, False, False, False]
    assert all(address.encode() for address in addresses)


def test_a_file_or_caption_with_such_a_name_is_listed_and_rejected(tmp_path: Path) -> None:
    for name in (b"caf\xe9.txt", b"caf\xea.txt", b"caf\\xe9.txt", b"b\xff.mp4", b"b\xff.srt"):
        named(tmp_path, name)
    found = {item.uri.rsplit("/", 1)[1]: (item.reason, item.detail) for item in read_manifest([str(tmp_path)]).items}
    rejected = {name: ("bad_name", f"file://{tmp_path}/{name}: {BAD_NAME}") for name in ("caf%E9.txt", "caf%EA.txt")}
    video = {"b%FF.mp4": ("bad_name", f"file://{tmp_path}/b%FF.mp4: {BAD_NAME}")}
    assert found == {"caf\\xe9.txt": (None, None)} | rejected | video


def test_the_same_file_has_one_address_whatever_lists_it(tmp_path: Path) -> None:
    path = named(tmp_path, b"caf\xe9.txt")
    (tmp_path / "m.jsonl").write_text(json.dumps({"uri": str(path)}) + "\n")
    (tmp_path / "m.csv").write_bytes(b"uri\ncaf\xe9.txt\n")
    for given in (tmp_path, path, tmp_path / "m.jsonl", tmp_path / "m.csv"):
        (item,) = read_manifest([str(given)]).items
        assert (item.uri, item.reason) == (address_of(path), "bad_name")


def test_a_manifest_with_such_a_name_is_an_error(tmp_path: Path) -> None:
    path = named(tmp_path, b"m\xe9.jsonl")
    with pytest.raises(ManifestError, match=BAD_NAME):
        read_manifest([str(path)])


def test_a_surrogate_that_stands_for_no_byte_has_an_address() -> None:
    assert address_of("/a\ud800.txt") == "file:///a%ED%A0%80.txt"
    assert (typed_name("caf\udce9"), typed_name("café")) == ("caf%E9", "café")
