from __future__ import annotations

import gc
import importlib.util
import io
import itertools
import json
import os
import sys
import tarfile
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from pipeline.packing.commit import begin, is_current
from pipeline.packing.config import PackConfig
from pipeline.packing.plan import DatasetPlan
from pipeline.packing.shards import ShardJob, is_written, write_shard
from pipeline.runtime.token_store import TokenStore, write_unit
from schemas.dataset import PARTS, read_card, read_index
from schemas.errors import ConfigError, DatasetError
from schemas.fingerprint import sha256_file
from schemas.packed import SPAN_DTYPE, check_spans, expand
from schemas.records import LEDGER, TOKENS
from schemas.vocab import TEXT, VISION
from tests.support.local_packing import CONTEXT, SMALL, finish, make_jobs, pack_documents, unit_tables
from tests.support.token_stores import FRAME, VOCABULARY, StoredDocument, book, image, video, write_store

DOCUMENTS = [
    *(book(f"book {i}", 17 * i + 40) for i in range(6)),
    *(video(f"video {i}", [i + 1, 3]) for i in range(10)),
    *(image(f"image {i}", caption=3 + i) for i in range(5)),
    video("long", [40, 7, 90], cue=70),
    book("held out", 90, split="val"),
    video("held out too", [5], split="val"),
]


def prepare(
    tokens: Path, config: PackConfig = SMALL, documents: Sequence[StoredDocument] = DOCUMENTS, *, units: int = 3
) -> tuple[DatasetPlan, list[ShardJob]]:
    store = write_store(tokens, documents, units=units)
    return make_jobs(unit_tables(tokens), config, store=store)


def pack(
    root: Path, config: PackConfig = SMALL, documents: Sequence[StoredDocument] = DOCUMENTS, *, seed: int = 0
) -> Path:
    return pack_documents(root, documents, config, seed=seed)


def files(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir()}


def samples(directory: Path, split: str) -> list[dict[str, Any]]:
    """Read the sequences with nothing but tarfile, numpy and json."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.glob(f"{split}-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, part = member.name.split(".", 1)
                data = tar.extractfile(member).read()  # type: ignore[union-attr]
                value = json.loads(data) if part == "json" else np.load(io.BytesIO(data), allow_pickle=False)
                found.setdefault(key, {"key": key, "shard": path.name})[part] = value
    return list(found.values())


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("dataset"))


def test_the_documents_come_back_from_the_sequences_token_by_token(packed: Path) -> None:
    for split in ("train", "val"):
        back = {d.id: np.full(len(d.tokens), 65535, np.uint16) for d in DOCUMENTS if d.split == split}
        for sample in samples(packed, split):
            check_spans(sample["spans.npy"], length=CONTEXT, documents=len(sample["json"]["documents"]), where="it")
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


def test_spans_say_which_tokens_are_vision(packed: Path) -> None:
    for sample in samples(packed, "train"):
        inputs = expand(sample["spans.npy"], CONTEXT)
        assert np.array_equal(inputs.vision, VOCABULARY.is_vision(sample["tokens.npy"]))


def test_the_bytes_depend_on_the_documents_alone(packed: Path, tmp_path: Path) -> None:
    again = pack(tmp_path / "a", documents=DOCUMENTS[::-1], seed=7)
    assert files(again) == files(packed)
    spread = pack_documents(tmp_path / "b", DOCUMENTS, units=7)
    assert files(spread) == files(packed)


def test_shards_are_of_about_the_size_asked_for_and_balanced(tmp_path: Path) -> None:
    index = read_index(pack(tmp_path, PackConfig(shard_bytes=16_000)))
    counts = [shard.nsamples for shard in index if shard.split == "train"]
    assert len(counts) > 2
    assert max(counts) - min(counts) <= 1
    assert all(8_000 < shard.offsets[-1] < 20_000 for shard in index if shard.split == "train")
    assert [shard.url for shard in index] == [
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


def test_headers_are_those_that_tarfile_and_numpy_write(packed: Path) -> None:
    data = next(iter(packed.glob("val-*.tar"))).read_bytes()
    info = tarfile.TarInfo("val-000000000.tokens.npy")
    info.mode, info.size = 0o444, 128 + 2 * CONTEXT
    assert data[:512] == info.tobuf(tarfile.USTAR_FORMAT)
    for values in (np.zeros(CONTEXT, np.uint16), np.zeros(3, SPAN_DTYPE)):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, values, version=(1, 0), allow_pickle=False)
        assert np.array_equal(np.load(io.BytesIO(stream.getvalue())), values)
    assert data[512 : 512 + 10].startswith(b"\x93NUMPY\x01\x00")


def test_offsets_point_at_samples(packed: Path) -> None:
    number = 0
    for shard in (s for s in read_index(packed) if s.split == "train"):
        data = (packed / shard.url).read_bytes()
        for a, b in itertools.pairwise(shard.offsets):
            with tarfile.open(fileobj=io.BytesIO(data[a:b] + bytes(1024))) as tar:
                assert tar.getnames()[0] == f"train-{number:09d}.tokens.npy"
                assert len(tar.getnames()) == 3
            number += 1
        assert len(data) == shard.filesize
        assert not any(data[shard.offsets[-1] :])
        assert sha256_file(packed / shard.url) == shard.sha256


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves closing to the GC
def test_plain_webdataset_iterates_every_sequence(packed: Path) -> None:
    urls = [str(packed / shard.url) for shard in read_index(packed)]
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
    """Import wids. It imports torch for the base class of its dataset and for a sampler that is not used here; where
    torch is not installed, an empty base class does.
    """
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


def test_wids_reads_the_index(packed: Path, wids: types.ModuleType) -> None:
    dataset = wids.ShardListDataset(str(packed / "index.json"), cache_dir=str(packed), transformations=[])
    expected = samples(packed, "train") + samples(packed, "val")
    assert len(dataset) == len(expected)
    for i in (0, 1, len(expected) - 1):
        sample = dataset[i]
        assert sample["__key__"] == expected[i]["key"]
        assert sample["__dataset__"] == expected[i]["key"].split("-")[0]
        assert np.array_equal(np.load(sample[".tokens.npy"], allow_pickle=False), expected[i]["tokens.npy"])
        assert json.load(sample[".json"]) == expected[i]["json"]
    dataset.close()


def test_the_ledger_has_every_span_once_in_order(packed: Path) -> None:
    ledger = pq.read_table(packed / "documents.parquet")
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


def test_frames_keep_their_times_where_a_video_is_cut(packed: Path) -> None:
    long = next(d for d in DOCUMENTS if d.name == "long")
    rows = [r for r in pq.read_table(packed / "documents.parquet").to_pylist() if r["document_id"] == long.id]
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


def test_the_card_counts_what_is_there(packed: Path) -> None:
    card = read_card(packed)
    for split in ("train", "val"):
        mine = [d for d in DOCUMENTS if d.split == split]
        tokens = np.concatenate([d.tokens for d in mine])
        facts = card.splits[split]
        assert facts.documents == len(mine)
        assert facts.tokens == len(tokens)
        assert facts.vision_tokens == VOCABULARY.is_vision(tokens).sum()
        assert facts.text_tokens == len(tokens) - facts.vision_tokens
        assert facts.sequences == len(samples(packed, split))
        assert facts.fill == len(tokens) / (facts.sequences * CONTEXT)
        assert facts.fill <= facts.best_fill <= 1


def weighted_loss(directory: Path, losses: dict[str, np.ndarray]) -> float:
    """Return Σ w·ce / Σ w over all sequences, where `losses` are the cross-entropies of each document's tokens."""
    total = weight = 0.0
    for sample in samples(directory, "train"):
        weights = expand(sample["spans.npy"], CONTEXT).weights.astype(np.float64)
        chunks = [losses[p["id"]][p["start"] : p["start"] + p["length"]] for p in sample["json"]["documents"]]
        ce = np.concatenate([*chunks, np.zeros(CONTEXT)])[:CONTEXT]
        total, weight = total + float(weights @ ce), weight + float(weights.sum())
    return total / weight


@pytest.mark.parametrize(("text", "vision"), [(1.0, 1.0), (3.0, 0.5), (0.0, 1.0)])
def test_document_weights_give_the_loss_of_unpacked_and_padded_documents(
    tmp_path: Path, text: float, vision: float
) -> None:
    documents = [video(f"v{i}", [i + 1], cue=2 * i + 1) for i in range(8)]  # all whole, none is cut
    config = PackConfig(loss_weighting="document", text_weight=text, vision_weight=vision)
    rng = np.random.default_rng(0)
    losses = {d.id: rng.random(len(d.tokens)) for d in documents}
    # One document a row, the loss of a row the sum over its targets, weighted by modality, over their number.
    multiplier = {d.id: np.where(VOCABULARY.is_vision(d.tokens), vision, text)[1:] for d in documents}
    sums = [(multiplier[d.id] @ losses[d.id][1:], multiplier[d.id].sum(), len(d.tokens) - 1) for d in documents]
    unpacked = sum(ce / n for ce, _, n in sums) / sum(w / n for _, w, n in sums)
    assert weighted_loss(pack(tmp_path, config, documents), losses) == pytest.approx(unpacked, rel=1e-6)


def test_a_cut_document_counts_one_with_all_its_chunks(tmp_path: Path) -> None:
    documents = [video("long", [40]), book("b", 150), video("short", [2])]
    directory = pack(tmp_path, PackConfig(loss_weighting="document"), documents)
    for chosen in documents:
        losses = {d.id: np.full(len(d.tokens), float(d is chosen)) for d in documents}
        assert weighted_loss(directory, losses) == pytest.approx(1 / 3, rel=1e-6)


def test_token_weights_count_every_target_the_same(tmp_path: Path) -> None:
    directory = pack(tmp_path, PackConfig(text_weight=2.0))
    for sample in samples(directory, "train"):
        spans = sample["spans.npy"]
        assert set(spans["weight"][spans["modality"] == VISION].tolist()) <= {1.0}
        assert set(spans["weight"][spans["modality"] == TEXT].tolist()) <= {2.0}


def test_document_weights_have_a_mean_of_one_but_for_targets_lost_to_cuts(tmp_path: Path) -> None:
    whole = [d for d in DOCUMENTS if d.kind != "book" and len(d.tokens) <= CONTEXT]
    for name, documents, exact in (("whole", whole, 1e-5), ("cut", DOCUMENTS, 0.03)):
        directory = pack(tmp_path / name, PackConfig(loss_weighting="document"), documents)
        inputs = [expand(sample["spans.npy"], CONTEXT) for sample in samples(directory, "train")]
        targets = np.concatenate([(i.segment_ids > 0) & (i.positions > 0) for i in inputs])
        assert np.concatenate([i.weights for i in inputs])[targets].mean() == pytest.approx(1, rel=exact)


def test_a_second_run_finds_the_dataset_current(packed: Path, tmp_path: Path) -> None:
    made, _ = prepare(tmp_path / "tokens")
    assert is_current(packed, made.fingerprint)
    assert not is_current(packed, prepare(tmp_path / "other", replace(SMALL, seed=1))[0].fingerprint)
    assert not is_current(tmp_path / "nowhere", made.fingerprint)


@pytest.mark.parametrize("spoil", ["dataset.json", "index.json", "documents.parquet", "train-000000-of-", "cut"])
def test_a_dataset_with_a_file_missing_or_cut_is_not_current(tmp_path: Path, spoil: str) -> None:
    directory = pack(tmp_path)
    fingerprint = read_card(directory).fingerprint
    assert is_current(directory, fingerprint)
    path = next(p for p in sorted(directory.iterdir()) if p.name.startswith("val-" if spoil == "cut" else spoil))
    if spoil == "cut":
        os.truncate(path, 512)
    else:
        path.unlink()
    assert not is_current(directory, fingerprint)


def test_an_interrupted_run_keeps_its_shards_and_goes_on(packed: Path, tmp_path: Path) -> None:
    made, jobs = prepare(tmp_path / "tokens")
    store, directory = TokenStore(tmp_path / "tokens"), tmp_path / "packed"
    begin(directory, made.fingerprint)
    for job in jobs[:4]:
        write_shard(job, store, directory)
    with pytest.raises(DatasetError, match="missing"):
        finish(directory, made)
    with pytest.raises(DatasetError, match="unfinished"):
        read_card(directory)
    (directory / jobs[1].name).write_bytes(b"cut short")
    (directory / jobs[3].name).write_bytes((directory / jobs[3].name).read_bytes()[:-1] + b"\1")
    before = {job.name: (directory / job.name).stat().st_mtime_ns for job in jobs[:4]}
    begin(directory, made.fingerprint)
    assert [is_written(job, directory) for job in jobs[:5]] == [True, False, True, False, False]
    for job in jobs:
        write_shard(job, store, directory)
    finish(directory, made)
    after = {name: (directory / name).stat().st_mtime_ns for name in before}
    assert [after[job.name] == before[job.name] for job in jobs[:4]] == [True, False, True, False]
    assert files(directory) == files(packed)


def test_a_new_plan_replaces_the_old_dataset_and_its_shards(packed: Path, tmp_path: Path) -> None:
    directory = pack(tmp_path, PackConfig(shard_bytes=5_000))
    (directory / ".train-000000-of-000009.tar.0123abcd.tmp").touch()  # a killed writer's
    (directory / "notes.txt").touch()
    made, jobs = prepare(tmp_path / "tokens")
    begin(directory, made.fingerprint)
    assert not (directory / "dataset.json").exists()
    for job in jobs:
        write_shard(job, TokenStore(tmp_path / "tokens"), directory)
    finish(directory, made)
    (directory / "notes.txt").unlink()
    assert files(directory) == files(packed)


def test_parts_of_another_plan_are_not_taken_for_this_one(tmp_path: Path) -> None:
    made, jobs = prepare(tmp_path / "tokens")
    other, other_jobs = make_jobs(unit_tables(tmp_path / "tokens"), replace(SMALL, seed=5))
    directory, store = tmp_path / "packed", TokenStore(tmp_path / "tokens")
    begin(directory, other.fingerprint)
    for job in other_jobs:
        write_shard(job, store, directory)
    assert not any(is_written(job, directory) for job in jobs)
    begin(directory, made.fingerprint)
    assert not list((directory / PARTS).iterdir())


def test_shards_that_longreel_did_not_write_are_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "packed" / "train-000000-of-000001.tar"
    foreign.parent.mkdir()
    foreign.write_bytes(b"precious")
    with pytest.raises(ConfigError, match="no Longreel dataset; choose another folder"):
        begin(foreign.parent, "0" * 64)
    assert foreign.read_bytes() == b"precious"


def first_job(tmp_path: Path, change: dict[str, Any]) -> ShardJob:
    """Return a job of one book whose row in the table says something else than the store holds."""
    store = write_store(tmp_path / "tokens", [book("b", 50)])
    row = store.table().to_pylist()[0] | change
    table = pa.Table.from_pylist([row | {"spans": [row["spans"][0] | {"length": row["length"]}]}], TOKENS)
    return make_jobs([table])[1][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"length": 49}, "holds 50 tokens of uint16, but the index row expects 49"), ({"length": 51}, "tokens 0..51|holds 50"),
     ({"unit": 9}, "tokenize again|No such file")],
)  # fmt: skip
def test_a_document_that_is_not_what_its_row_says_is_an_error(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    job = first_job(tmp_path, change)
    with pytest.raises(DatasetError, match=message):
        write_shard(job, TokenStore(tmp_path / "tokens"), tmp_path / "packed")
    assert not list((tmp_path / "packed").glob("**/*.tar*"))
    assert not (tmp_path / "packed" / PARTS).exists()


def test_tokens_of_another_type_or_outside_the_vocabulary_are_an_error(tmp_path: Path) -> None:
    job = first_job(tmp_path, {})
    unit = job.documents["unit"][0].as_py()
    write_unit(tmp_path / "wide", unit, [(book("b", 50).entry(), np.zeros(50))], np.dtype(np.uint32))
    with pytest.raises(DatasetError, match="of uint32"):
        write_shard(job, TokenStore(tmp_path / "wide"), tmp_path / "packed")
    write_unit(tmp_path / "large", unit, [(book("b", 50).entry(), np.full(50, 72))], np.dtype(np.uint16))
    with pytest.raises(DatasetError, match="token 72 .* outside the vocabulary of 72"):
        write_shard(job, TokenStore(tmp_path / "large"), tmp_path / "packed")
