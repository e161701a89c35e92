from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.fingerprint import bucket, canonical_json, fingerprint, sha256_file


def test_fingerprints_do_not_depend_on_the_order_of_keys_or_the_process(tmp_path: Path) -> None:
    here = fingerprint({"b": 1, "a": [1.5, None]}), bucket("x", 64)
    code = "from schemas.fingerprint import *; print(fingerprint({'a': [1.5, None], 'b': 1}), bucket('x', 64))"
    for seed in ("0", "1"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert there.stdout.split() == [here[0], str(here[1])]
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint(4) == fingerprint(4.0) != fingerprint(4.5)


def test_a_path_in_a_fingerprint_is_rejected() -> None:
    with pytest.raises(TypeError, match="Path"):
        fingerprint(Path("x"))


def test_sha256_file_hashes_the_content(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_file(tmp_path / "f").startswith("ba7816bf")


def test_dataclasses_have_the_canonical_json_of_their_fields() -> None:
    @dataclass(frozen=True)
    class Config:
        size: float
        names: tuple[str, ...]

    assert canonical_json({"b": Config(2.0, ("é",)), "a": None}) == '{"a":null,"b":{"names":["\\u00e9"],"size":2}}'


def test_more_buckets_subdivide_the_same_order() -> None:
    names = [str(i) for i in range(500)]
    coarse, fine = ([bucket(name, count) for name in names] for count in (4, 64))
    assert set(coarse) == {0, 1, 2, 3}
    assert [b // 16 for b in fine] == coarse
