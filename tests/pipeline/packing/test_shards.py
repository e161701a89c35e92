from __future__ import annotations

import gc
import importlib.util
import io
import itertools
import json
import sys
import tarfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from pipeline.packing.config import PackConfig
from pipeline.packing.shards import ShardJob, write_shard
from pipeline.runtime.token_store import TokenStore, write_unit
from schemas.dataset_files import PARTS, plain_name
from schemas.errors import DatasetError
from schemas.fingerprint import sha256_file
from schemas.packed import SPAN_DTYPE, check_spans, expand
from schemas.records import LEDGER, TOKENS
from schemas.storage.location import located
from schemas.vocab import TEXT, VISION
from tests.support.packing.local_packing import CONTEXT, make_jobs, pack_documents
from tests.support.packing.packing_cases import (
    DOCUMENTS,
    files,
    pack,
    samples,
)
from tests.support.stored_files import file_of, index_of
from tests.support.token_stores import FRAME, VOCABULARY, book, write_store


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("dataset"))


def test_the_tokens_of_all_documents_are_restored_from_the_sequences(packed: Path) -> None:
    for split in ("train", "val"):
        back = {d.id: np.full(len(d.tokens), 65535, np.uint16) for d in DOCUMENTS if d.split == split}
        for sample in samples(packed, split):
            check_spans(sample["spans.npy"], length=CONTEXT, documents=len(sample["json"]["documents"]), where="test")
            assert sample["tokens.npy"].shape == (CONTEXT,)
            assert sample["tokens.npy"].dtype == np.uint16
            at = 0
            for chunk in sample["json"]["documents"]:
                place = back[chunk["id"]][chunk["start"] : chunk["start"] + chunk["length"]]
                assert (place == 65535).all()
                place[:] = sample["tokens.npy"][at : at + chunk["length"]]
                at += chunk["length"]
            assert not sample["tokens.npy"][at:].any()
        for document in DOCUMENTS:
            if document.split == split:
                assert np.array_equal(back[document.id], document.tokens)


def test_the_modality_of_spans_matches_the_token_ids(packed: Path) -> None:
    for sample in samples(packed, "train"):
        inputs = expand(sample["spans.npy"], CONTEXT)
        assert np.array_equal(inputs.vision, VOCABULARY.is_vision(sample["tokens.npy"]))


def test_bytes_do_not_depend_on_document_order_or_number_of_units(packed: Path, tmp_path: Path) -> None:
    again = pack(tmp_path / "a", documents=DOCUMENTS[::-1], seed=7)
    assert files(again) == files(packed)
    spread = pack_documents(tmp_path / "b", DOCUMENTS, units=7)
    assert files(spread) == files(packed)


def test_shards_are_balanced_and_close_to_the_requested_size(tmp_path: Path) -> None:
    index = index_of(pack(tmp_path, PackConfig(shard_bytes=16_000)))
    counts = [shard.nsamples for shard in index if shard.split == "train"]
    assert len(counts) > 2
    assert max(counts) - min(counts) <= 1
    assert all(8_000 < shard.offsets[-1] < 20_000 for shard in index if shard.split == "train")
    assert [plain_name(shard.url) for shard in index] == [
        *(f"train-{i:06d}-of-{len(counts):06d}.tar" for i in range(len(counts))),
        "val-000000-of-000001.tar",
    ]


def test_tar_headers_are_normalized(packed: Path) -> None:
    for path in packed.glob("*.tar"):
        with tarfile.open(path) as tar:
            for key, members in itertools.groupby(tar, key=lambda m: m.name.split(".")[0]):
                some = list(members)
                assert [m.name for m in some] == [f"{key}.{part}" for part in ("tokens.npy", "spans.npy", "json")]
                for m in some:
                    owner = (m.uid, m.gid, m.uname, m.gname, m.devmajor, m.devminor, m.linkname)
                    assert (m.mode, m.mtime, m.type, *owner) == (0o444, 0, b"0", 0, 0, "", "", 0, 0, "")
        data = path.read_bytes()
        assert len(data) % tarfile.RECORDSIZE == 0
        assert data[257:265] == b"ustar\x0000"


def test_headers_equal_those_of_tarfile_and_numpy(packed: Path) -> None:
    data = next(iter(packed.glob("val-*.tar"))).read_bytes()
    info = tarfile.TarInfo("val-000000000.tokens.npy")
    info.mode, info.size = 0o444, 128 + 2 * CONTEXT
    assert data[:512] == info.tobuf(tarfile.USTAR_FORMAT)
    for values in (np.zeros(CONTEXT, np.uint16), np.zeros(3, SPAN_DTYPE)):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, values, version=(1, 0), allow_pickle=False)
        assert np.array_equal(np.load(io.BytesIO(stream.getvalue())), values)
    assert data[512 : 512 + 10].startswith(b"\x93NUMPY\x01\x00")


def test_index_offsets_point_to_samples(packed: Path) -> None:
    number = 0
    for shard in (s for s in index_of(packed) if s.split == "train"):
        data = (packed / shard.url).read_bytes()
        for a, b in itertools.pairwise(shard.offsets):
            with tarfile.open(fileobj=io.BytesIO(data[a:b] + bytes(1024))) as tar:
                assert tar.getnames()[0] == f"train-{number:09d}.tokens.npy"
                assert len(tar.getnames()) == 3
            number += 1
        assert len(data) == shard.filesize
        assert not any(data[shard.offsets[-1] :])
        assert sha256_file(packed / shard.url) == shard.sha256


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves closing to the GC
def test_webdataset_iterates_over_every_sequence(packed: Path) -> None:
    urls = [str(packed / shard.url) for shard in index_of(packed)]
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    gc.collect()
    expected = samples(packed, "train") + samples(packed, "val")
    assert [s["__key__"] for s in found] == [s["key"] for s in expected]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one["tokens.npy"], other["tokens.npy"])
        assert np.array_equal(one["spans.npy"], other["spans.npy"])
        assert one["spans.npy"].dtype == SPAN_DTYPE
        assert one["json"] == other["json"]


@pytest.fixture
def wids(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Import wids. If torch is not installed, an empty class replaces the base classes that wids imports from torch."""
    if importlib.util.find_spec("torch") is None:
        torch = {name: types.ModuleType(name) for name in ("torch", "torch.distributed", "torch.utils.data")}
        base = type("Dataset", (), {"__class_getitem__": classmethod(lambda cls, _: cls)})
        torch["torch.utils.data"].Dataset = torch["torch.utils.data"].Sampler = base  # type: ignore[attr-defined]
        torch["torch"].distributed = torch["torch.distributed"]  # type: ignore[attr-defined]
        for name, module in torch.items():
            monkeypatch.setitem(sys.modules, name, module)
    wids = importlib.import_module("wids")
    monkeypatch.undo()
    return wids


@pytest.mark.parametrize("name", ["dataset.json", "index.json"])
def test_wids_reads_the_card_and_the_index(packed: Path, wids: types.ModuleType, name: str) -> None:
    dataset = wids.ShardListDataset(str(file_of(packed, name)), cache_dir=str(packed), transformations=[])
    expected = samples(packed, "train") + samples(packed, "val")
    assert len(dataset) == len(expected)
    for i in (0, 1, len(expected) - 1):
        sample = dataset[i]
        assert sample["__key__"] == expected[i]["key"]
        assert sample["__dataset__"] == expected[i]["key"].split("-")[0]
        assert np.array_equal(np.load(sample[".tokens.npy"], allow_pickle=False), expected[i]["tokens.npy"])
        assert json.load(sample[".json"]) == expected[i]["json"]
    dataset.close()


def test_the_ledger_contains_every_span_once_in_order(packed: Path) -> None:
    ledger = pq.read_table(file_of(packed, "documents.parquet"))
    assert ledger.schema.equals(LEDGER)
    rows = ledger.to_pylist()
    assert rows == sorted(rows, key=lambda r: (r["sequence"], r["span"]))
    by_id = {d.id: d.row() for d in DOCUMENTS}
    expected = []
    for sample in samples(packed, "train") + samples(packed, "val"):
        chunks = sample["json"]["documents"]
        inside = [0] * len(chunks)
        for number, (start, length, chunk, modality, weight) in enumerate(sample["spans.npy"].tolist()):
            facts = by_id[chunks[chunk]["id"]]
            expected.append(
                {"sequence": sample["key"], "shard": sample["shard"], "span": number, "start": start, "length": length}
                | {
                    "modality": modality,
                    "weight": weight,
                    "copy": 0,
                    "document_start": chunks[chunk]["start"] + inside[chunk],
                }
                | {name: facts[name] for name in ("document_id", "kind", "split", "uri", "title", "source", "license")}
            )
            inside[chunk] += length
    assert [{k: v for k, v in row.items() if not k.endswith("_s")} for row in rows] == expected


def test_chunks_of_a_cut_video_keep_their_timestamps(packed: Path) -> None:
    long = next(d for d in DOCUMENTS if d.name == "long")
    rows = [r for r in pq.read_table(file_of(packed, "documents.parquet")).to_pylist() if r["document_id"] == long.id]
    times = []
    for row in sorted(rows, key=lambda r: r["document_start"]):
        if row["modality"] == VISION:
            assert row["end_s"] - row["start_s"] == pytest.approx(row["length"] / FRAME)  # one frame a second
            times.append((row["start_s"], row["end_s"]))
    assert len(times) > 3
    assert times[0][0] == 0
    assert times[-1][1] == 137
    assert all(a[1] == pytest.approx(b[0]) for a, b in itertools.pairwise(times))
    assert {(r["start_s"], r["end_s"]) for r in rows if r["modality"] == TEXT} == {(40, 40), (47, 47), (None, None)}


def first_job(tmp_path: Path, change: dict[str, Any]) -> ShardJob:
    """Return a job of one book whose index row contradicts the token store."""
    store = write_store(tmp_path / "tokens", [book("b", 50)])
    row = store.table().to_pylist()[0] | change
    table = pa.Table.from_pylist([row | {"spans": [row["spans"][0] | {"length": row["length"]}]}], TOKENS)
    return make_jobs([table])[1][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 49}, "holds 50 tokens of uint16, but the index row expects 49"),
        ({"length": 51}, "tokens 0..51|holds 50"),
        ({"unit": 9}, "tokenize again|No such file"),
    ],
)
def test_a_document_that_contradicts_its_index_row_raises(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    job = first_job(tmp_path, change)
    with pytest.raises(DatasetError, match=message):
        write_shard(job, TokenStore(located(tmp_path / "tokens")), located(tmp_path / "packed"))
    assert not list((tmp_path / "packed").glob("**/*.tar*"))
    assert not (tmp_path / "packed" / PARTS).exists()


def test_tokens_of_another_dtype_or_outside_the_vocabulary_raise(tmp_path: Path) -> None:
    job = first_job(tmp_path, {})
    unit = job.documents["unit"][0].as_py()
    write_unit(located(tmp_path / "wide"), unit, [(book("b", 50).entry(), np.zeros(50))], np.dtype(np.uint32))
    with pytest.raises(DatasetError, match="of uint32"):
        write_shard(job, TokenStore(located(tmp_path / "wide")), located(tmp_path / "packed"))
    write_unit(located(tmp_path / "large"), unit, [(book("b", 50).entry(), np.full(50, 72))], np.dtype(np.uint16))
    with pytest.raises(DatasetError, match="token 72 .* outside the vocabulary of 72"):
        write_shard(job, TokenStore(located(tmp_path / "large")), located(tmp_path / "packed"))
