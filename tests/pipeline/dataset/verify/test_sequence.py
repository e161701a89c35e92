from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.verify.verify import verify
from schemas.shards.npy import npy
from schemas.vocab import VISION
from tests.support.datasets.altered_datasets import (
    KEY,
    SHARD,
    Members,
    array,
    first_span,
    listing,
    named,
    put,
    raw,
    rewrite,
)
from tests.support.datasets.packed_datasets import reseal
from tests.support.stored_files import file_of, index_of
from tests.support.token_stores import VOCABULARY


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (array("tokens", put(None, 3, VOCABULARY.size)), "token 3 is 72, outside the vocabulary of 72"),
        (array("tokens", lambda t: t[:-1]), "tokens.npy is not an .npy file of uint16 [64]"),
        (array("tokens", lambda t: t.astype(np.uint32)), "tokens.npy is not an .npy file of uint16 [64]"),
        (array("spans", lambda s: s[:0]), "has no spans"),
        (array("spans", put("length", 0, 0)), "a span has no tokens"),
        (array("spans", put("start", -1, 1)), "overlap or leave a gap"),
        (array("spans", put("weight", 0, np.nan)), "weight is negative or not finite"),
        (array("spans", put("modality", 0, 7)), "unknown modality"),
        (array("spans", put("document", -1, 9)), "document numbers"),
        (array("spans", lambda s: s[["start", "length"]].copy()), "spans.npy is not an .npy file"),
        (listing(lambda d: d[0].update(length=d[0]["length"] + 1)), "json lists chunks of"),
        (listing(lambda d: d[0].update(start=-1)), "out of range"),
        (listing(lambda d: d[0].update(start=10**30)), "out of range"),
        (listing(lambda d: d[0].update(id=5)), "not a chunk of a document"),
        (listing(lambda d: d.append("x")), "not a listing"),
        (raw("json", b"[" * 100_000), "not a listing"),
        (raw("json", b'{"documents": []}'), "not written as Longreel writes it"),
        (raw("json", b"\xff\xfe"), "not a listing"),
        (raw("tokens.npy", pickle.dumps([1, 2])), "tokens.npy is not an .npy file"),
        (raw("extra", b""), "bytes follow"),
        (lambda m: dict(reversed(m.items())), f"expected the normalized tar header of {KEY}.tokens.npy"),
        (lambda m: dict(list(m.items())[:2]), f"expected the normalized tar header of {KEY}.json"),
        (lambda m: {k.replace("1.", "7."): v for k, v in m.items()}, "expected the normalized tar header"),
    ],
)
def test_every_problem_of_a_sequence_is_reported(
    dataset: Path, change: Callable[[Members], Members], what: str
) -> None:
    rewrite(dataset, change)
    report = verify(dataset)
    assert named(report, SHARD, KEY, what), report.problems


def test_a_pickle_in_an_array_is_not_loaded(dataset: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([os.mkdir, str(tmp_path / "executed")], object), allow_pickle=True)
    rewrite(dataset, raw("spans.npy", stream.getvalue()))
    assert named(verify(dataset), SHARD, KEY, "spans.npy is not an .npy file")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(("modality", "token", "kind"), [(VISION, 7, "vision"), (0, VOCABULARY.eof, "text")])
def test_a_token_in_a_span_of_the_other_modality_is_reported(
    dataset: Path, modality: int, token: int, kind: str
) -> None:
    at = first_span(dataset, modality)
    rewrite(dataset, array("tokens", put(None, at, token)))
    assert named(verify(dataset), SHARD, KEY, f"token {at} is {token}, which does not belong in a {kind} span")


def test_padding_that_is_not_zero_is_reported(dataset: Path) -> None:
    shard = "val-000000-of-000001.tar"
    with tarfile.open(file_of(dataset, shard)) as tar:
        arrays = [m for m in tar if m.name.endswith("tokens.npy")]
        padded = [m for m in arrays if not np.load(io.BytesIO(tar.extractfile(m).read()))[-1]]  # type: ignore[union-attr]
    key = padded[0].name.split(".")[0]

    def change(members: Members) -> Members:
        tokens = np.load(io.BytesIO(members[f"{key}.tokens.npy"])).copy()
        assert tokens[-1] == 0
        tokens[-1] = 1
        return members | {f"{key}.tokens.npy": npy(tokens)}

    rewrite(dataset, change, key)
    assert named(verify(dataset), shard, key, "padding: token 63")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"0000444\0", b"0000644\0"), (b"ustar\x0000", b"ustar  \0"), (b"00000000000\0", b"00000000001\0")],
)
def test_a_tar_header_that_is_not_normalized_is_reported(dataset: Path, old: bytes, new: bytes) -> None:
    path = file_of(dataset, SHARD)
    start = index_of(dataset)[0].offsets[1]
    data = path.read_bytes()
    path.write_bytes(data[:start] + data[start:].replace(old, new, 1))
    reseal(dataset)
    assert named(verify(dataset), SHARD, KEY, f"expected the normalized tar header of {KEY}.tokens.npy")
