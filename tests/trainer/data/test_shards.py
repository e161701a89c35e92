from __future__ import annotations

import dataclasses
import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.dataset import read_card
from schemas.dataset_files import CARD, INDEX, shard_name
from schemas.errors import ConfigError, DamagedSequence, DatasetError, VocabularyMismatch
from schemas.files import write_text
from schemas.fingerprint import sha256_file
from schemas.shards.index import ShardEntry, checksum_of_sequence
from schemas.storage.location import Location, located
from schemas.text_tokenizer import store_files
from tests.support.servers.object_servers import ObjectServer
from tests.support.stored_files import file_of, index_of, stored_file, write_index
from tests.support.training.training_dataset import VOCABULARY, checksums_of, with_other_tokenizer, write_dataset
from trainer.data.shards import PackedSplit

S = 128
WIDTH = VOCABULARY.dtype.itemsize


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("packed") / "set", context=S, train=8, val=3)


@pytest.fixture(scope="module")
def split(directory: Path) -> PackedSplit:
    return PackedSplit([directory], "train")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is asked of the operating system: ("open", 0) and ("pread", bytes)."""
    made: list[tuple[str, int]] = []
    plain_open, plain_pread = os.open, os.pread

    def counted_open(path: Path, flags: int) -> int:
        made.append(("open", 0))
        return plain_open(path, flags)

    def counted_pread(file: int, size: int, offset: int) -> bytes:
        made.append(("pread", size))
        return plain_pread(file, size, offset)

    monkeypatch.setattr(os, "open", counted_open)
    monkeypatch.setattr(os, "pread", counted_pread)
    return made


def _commit(directory: Path, shards: list[ShardEntry] | None = None, **changes: Any) -> Path:
    """Write another index and card over those of a dataset."""
    if shards is not None:
        write_index(directory, shards)
        files = read_card(directory).files | {INDEX: stored_file(directory, INDEX)}
        changes |= {"files": files, "shards": tuple(shard.file for shard in shards)}
    write_text(directory / CARD, dataclasses.replace(read_card(directory), **changes).to_json())
    return directory


def _rehash(directory: Path, **changes: Any) -> Path:
    """Write the index and the card that belong to the shards, as a faulty writer would; `changes` are of the card."""
    entries = [
        dataclasses.replace(entry, checksums=checksums_of((directory / entry.url).read_bytes(), entry.offsets))
        for entry in index_of(directory)
    ]
    return _commit(directory, entries, **changes)


def _from_tar(directory: Path, split: str) -> list[tuple[NDArray[np.uint16], NDArray[np.void]]]:
    """The sequences as the tars have them, read in order without the index."""
    found = []
    for path in sorted(directory.glob(f"{split}-*.tar")):
        with tarfile.open(path) as tar:
            data = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
        for key in sorted({name.split(".")[0] for name in data}):
            arrays = (np.load(io.BytesIO(data[f"{key}.{part}.npy"])) for part in ("tokens", "spans"))
            found.append(tuple(arrays))
    return found


def test_random_access_returns_the_contents_of_the_tars(directory: Path, split: PackedSplit) -> None:
    expected = _from_tar(directory, "train")
    assert len(split) == len(expected) == 8
    for index in (7, 0, 3, 2, 5):
        tokens, spans = split.read(index)
        assert np.array_equal(tokens, expected[index][0])
        assert np.array_equal(spans, expected[index][1])


@given(st.lists(st.integers(0, S), min_size=2, max_size=12).map(sorted), st.integers(0, 7))
@settings(deadline=None, max_examples=50)
def test_ranges_return_the_corresponding_tokens_of_the_sequence(
    split: PackedSplit, edges: list[int], index: int
) -> None:
    ranges = np.array(edges[: len(edges) // 2 * 2], np.int64).reshape(-1, 2)
    whole, spans = split.read(index)
    tokens, same_spans = split.read(index, ranges=ranges)
    assert tokens.tolist() == [token for a, b in ranges for token in whole[a:b].tolist()]
    assert tokens.dtype == whole.dtype
    assert np.array_equal(spans, same_spans)


@pytest.mark.parametrize(
    "ranges", [[(60_000, 61_000)], [(i, i + 512) for i in range(1024, 65_536, 4096)]], ids=["contiguous", "striped"]
)
def test_only_the_tokens_of_the_ranges_are_read(
    tmp_path: Path, calls: list[tuple[str, int]], ranges: list[tuple[int, int]]
) -> None:
    long = PackedSplit([write_dataset(tmp_path / "long", context=65_536, train=1, val=0)], "train")
    spans = long.read(0)[1]
    calls.clear()
    long.read(0, ranges=np.array(ranges))
    headers = ("pread", 1024)
    expected = [
        ("open", 0),
        headers,
        *(("pread", (b - a) * WIDTH) for a, b in ranges),
        headers,
        ("pread", spans.nbytes),
    ]
    assert calls == expected


def test_all_or_most_of_a_sequence_is_read_at_once(
    directory: Path, split: PackedSplit, calls: list[tuple[str, int]]
) -> None:
    offsets = index_of(directory)[1].offsets
    for ranges in (None, np.array([[0, 40], [60, S]])):
        calls.clear()
        split.read(4, ranges=ranges)
        assert calls == [("open", 0), ("pread", offsets[2] - offsets[1])]


@pytest.mark.slow
def test_a_sequence_in_the_middle_of_a_million_is_one_read(tmp_path: Path, calls: list[tuple[str, int]]) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=1, val=0)
    (only,) = index_of(directory)
    path = directory / only.url
    size, shards, per_shard = only.offsets[1], 250, 4000
    sequence = path.read_bytes()[:size]
    path.unlink()
    offsets = tuple(i * size for i in range(per_shard + 1))
    entries = []
    for number in range(shards):
        name = shard_name("train", number, shards)
        with (directory / name).open("wb") as f:
            if number == 125:
                os.pwrite(f.fileno(), sequence, offsets[1234])  # all the rest are holes in sparse files
            f.truncate(offsets[-1])
        facts: dict[str, Any] = {"url": name, "nsamples": per_shard, "filesize": offsets[-1], "offsets": offsets}
        facts["checksums"] = only.checksums * per_shard
        entries.append(dataclasses.replace(only, **facts))
    million = PackedSplit([_commit(directory, entries)], "train")
    assert len(million) == 10**6
    calls.clear()
    tokens, _ = million.read(125 * per_shard + 1234)
    assert calls == [("open", 0), ("pread", size)]
    at = sequence.index(b"\x93NUMPY") + 128
    assert tokens.tobytes() == sequence[at : at + S * WIDTH]


def test_keys_and_names_of_shards_may_have_gaps(directory: Path, split: PackedSplit, tmp_path: Path) -> None:
    shutil.copytree(directory, tmp_path / "set")
    first, second, third, val = index_of(tmp_path / "set")
    path = tmp_path / "set" / first.url
    data, (a, b, c, d) = path.read_bytes(), first.offsets
    path.write_bytes(data[a:b] + data[c:])  # without its second sequence
    (tmp_path / "set" / second.url).unlink()
    kept = dataclasses.replace(
        first,
        nsamples=2,
        filesize=len(data) - (c - b),
        sha256=sha256_file(path),
        offsets=(a, b, b + d - c),
        checksums=first.checksums[:16] + first.checksums[32:],
    )
    gaps = PackedSplit([_commit(tmp_path / "set", [kept, third, val])], "train")
    assert len(gaps) == 4
    for index, before in enumerate((0, 2, 6, 7)):
        for ours, whole in zip(gaps.read(index), split.read(before), strict=True):
            assert np.array_equal(ours, whole)
    assert len(PackedSplit([tmp_path / "set"], "val")) == 3


def test_the_attention_is_read_from_the_card_and_must_be_the_same_in_all_datasets(
    directory: Path, tmp_path: Path
) -> None:
    other = _commit(write_dataset(tmp_path / "other", context=S, train=1, val=0), attention="sequence")
    assert PackedSplit([directory], "train").attention == "document"
    assert PackedSplit([other], "train").attention == "sequence"
    with pytest.raises(ConfigError, match=r"set was packed for attention over the document and .*other over the seq"):
        PackedSplit([directory, other], "train")
    with pytest.raises(DatasetError, match=r"dataset.json: attention is 'shard', known are document, sequence"):
        PackedSplit([_commit(other, attention="shard")], "train")


def test_several_datasets_are_concatenated(directory: Path, tmp_path: Path) -> None:
    second = write_dataset(tmp_path / "second", context=S, train=4, val=1, seed=9)
    both = PackedSplit([directory, second], "train")
    assert len(PackedSplit([second, directory, second], "train")) == len(both) + both.sizes[1]
    assert len(both) == 12
    assert np.array_equal(both.read(9)[0], PackedSplit([second], "train").read(1)[0])
    assert both.fingerprint not in (
        PackedSplit([directory], "train").fingerprint,
        PackedSplit([second], "val").fingerprint,
    )


def test_datasets_of_different_contexts_or_tokenizers_are_rejected(directory: Path, tmp_path: Path) -> None:
    longer = write_dataset(tmp_path / "longer", context=2 * S, train=1)
    other = write_dataset(tmp_path / "other", context=S, train=1, vocabulary=with_other_tokenizer())
    with pytest.raises(ConfigError, match=r"128 tokens .* 256"):
        PackedSplit([directory, longer], "train")
    with pytest.raises(VocabularyMismatch, match="text_sha256"):
        PackedSplit([directory, other], "train")


def test_a_truncated_shard_is_reported_with_its_expected_and_actual_size(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S)
    shard = sorted(directory.glob("train-*.tar"))[1]
    size = shard.stat().st_size
    os.truncate(shard, size - 4096)
    with pytest.raises(
        DatasetError, match=rf"{shard.name} has {size - 4096} bytes, the index says {size}.*longreel pack"
    ):
        PackedSplit([directory], "train")


def test_a_missing_shard_is_reported_with_its_path(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S)
    shard = sorted(directory.glob("train-*.tar"))[1]
    shard.unlink()
    with pytest.raises(DatasetError, match=rf"{shard.name} is missing; the index lists it with"):
        PackedSplit([directory], "train")


def _overwrite(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def test_a_pickle_in_place_of_an_array_is_not_loaded(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=1, val=0)
    stream = io.BytesIO()
    np.save(stream, np.array([{"x": 1}], object), allow_pickle=True)
    evil = stream.getvalue()
    shard = next(directory.glob("train-*.tar"))
    data = bytearray(shard.read_bytes())
    spans_at = data.index(b"\x93NUMPY", data.index(b"spans.npy"))
    data[spans_at : spans_at + len(evil)] = evil
    shard.write_bytes(bytes(data))
    with pytest.raises(DatasetError, match=r"spans.npy cannot be read"):
        PackedSplit([_rehash(directory)], "train").read(0)


def test_an_index_that_does_not_match_the_card_is_an_error(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=2, val=0)
    _overwrite(file_of(directory, "index.json"), b'"offsets":[0,', b'"offsets":[1,')
    with pytest.raises(DatasetError, match=r"index.json is not the index that dataset.json was written for"):
        PackedSplit([directory], "train")


def test_bytes_that_are_not_a_sample_are_an_error(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=2, val=0)
    shard = next(directory.glob("train-*.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[512:] + whole[:512])
    with pytest.raises(DatasetError, match=rf"{shard.name}, sequence 0: no tar header"):
        PackedSplit([_rehash(directory)], "train").read(0)
    shard.write_bytes(whole.replace(b".tokens.npy", b".tokens.txt"))
    with pytest.raises(
        DatasetError, match=r"found 'train-000000000.tokens.txt' where KEY.tokens.npy was expected|header"
    ):
        PackedSplit([_rehash(directory)], "train").read(0)


def test_the_text_tokenizer_of_the_datasets_is_copied(tmp_path: Path) -> None:
    without = write_dataset(tmp_path / "without", context=S, train=1, val=0)
    directory = write_dataset(tmp_path / "with", context=S, train=1, val=0)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "tokenizer.json").write_bytes(b"{}")
    stored = store_files(
        tmp_path / "text", located(directory), {"tokenizer.json": sha256_file(tmp_path / "text/tokenizer.json")}
    )
    _commit(directory, text_tokenizer=stored)
    PackedSplit([without], "train").copy_text_tokenizer(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    PackedSplit([without, directory], "train").copy_text_tokenizer(tmp_path / "run")
    assert (tmp_path / "run" / "tokenizer.json").read_bytes() == b"{}"


def test_tokens_of_another_dtype_than_in_the_card_are_an_error(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=1, val=0)
    _overwrite(next(directory.glob("*.tar")), b"'descr': '<u2'", b"'descr': '<i2'")
    with pytest.raises(DatasetError, match=r"tokens are int16 \(128,\), the card says uint16"):
        PackedSplit([_rehash(directory)], "train").read(0)


def test_a_token_outside_the_vocabulary_is_an_error(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=1, val=0)
    vocabulary = dataclasses.replace(read_card(directory).vocabulary, codebook_size=8)
    with pytest.raises(DatasetError, match=r"outside the vocabulary of 74"):
        PackedSplit([_commit(directory, vocabulary=vocabulary)], "train").read(0)


def test_an_unfinished_directory_is_reported_as_unfinished(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S)
    (directory / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="unfinished"):
        PackedSplit([directory], "train")


def test_a_split_without_sequences_is_an_error_that_lists_the_splits(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, val=0)
    with pytest.raises(DatasetError, match=r"no sequences in the split 'val' \(it has: train\)"):
        PackedSplit([directory], "val")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"'shape': (128,), }", b"'shape': (64,), } ", r"tokens.npy cannot be read \(it has 384 bytes, not those of"),
        (b"'shape': (128,), }", b"'shape': (128,    ", r"tokens.npy cannot be read"),
        (b"\x93NUMPY\x01", b"\x93NUMPY\x07", r"tokens.npy cannot be read \(it has no .npy header"),
        (b"00000000600\x00", b"00000000601\x00", r"no tar header at byte 0 \(bad checksum"),
        (b"ustar", b"abcde", r"no tar header at byte 0 \(no USTAR header"),
    ],
)
def test_an_incorrect_header_is_an_error(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=1, val=0)
    _overwrite(next(directory.glob("*.tar")), old, new)
    with pytest.raises(DatasetError, match=message):
        PackedSplit([_rehash(directory)], "train").read(0)


def test_a_header_cannot_cause_reads_beyond_the_sequence(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=2, val=0)
    entry = index_of(directory)[0]
    short = dataclasses.replace(entry, offsets=(0, 1000, entry.offsets[2]))
    _commit(directory, [short])
    with pytest.raises(DatasetError, match=r"sequence 0: a header leads to bytes .* of a sequence of 1000"):
        PackedSplit([_rehash(directory)], "train").read(0)


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_an_altered_sequence_is_named_and_the_others_can_be_read(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S)
    split, second = PackedSplit([directory], "train"), index_of(directory)[1]
    first = sum(entry.nsamples for entry in index_of(directory)[:1])
    for offset in (second.offsets[0] + 700, second.offsets[1] - 1):  # a token; a byte of the padding of KEY.json
        _flip(directory / second.url, offset)
        with pytest.raises(DamagedSequence, match=rf"{second.url}, sequence 0: its bytes were altered.*longreel pack"):
            split.read(first)
        _flip(directory / second.url, offset)
    split.read(first)


def test_swapped_sequences_are_found(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=8)
    entry = next(entry for entry in index_of(directory) if len(set(np.diff(entry.offsets))) < entry.nsamples)
    sizes = np.diff(entry.offsets).tolist()
    i, j = next((i, j) for i in range(len(sizes)) for j in range(i) if sizes[i] == sizes[j])
    path = directory / entry.url
    data = bytearray(path.read_bytes())
    a, b = (slice(entry.offsets[n], entry.offsets[n + 1]) for n in (i, j))
    data[a], data[b] = data[b], data[a]
    path.write_bytes(data)
    split = PackedSplit([directory], "train")
    before = sum(e.nsamples for e in index_of(directory) if e.url < entry.url)
    for n in (i, j):
        with pytest.raises(DamagedSequence, match=f"{entry.url}, sequence {n}:"):
            split.read(before + n)


def test_the_first_read_of_a_range_checks_the_whole_sequence(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=1, val=0)
    entry = index_of(directory)[0]
    _flip(directory / entry.url, 1024 + 128 + 2 * (S - 1))  # the last token, which is not in the range
    split = PackedSplit([directory], "train")
    for _ in range(2):
        with pytest.raises(DamagedSequence):
            split.read(0, ranges=np.array([[0, 4]]))


@pytest.mark.parametrize("ranges", [None, np.array([[0, 16]])])
def test_the_bytes_of_a_sequence_are_compared_with_their_checksum_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch, ranges: NDArray[np.int64] | None
) -> None:
    compared: list[int] = []

    def counted(whole: memoryview) -> str:
        compared.append(len(whole))
        return checksum_of_sequence(whole)

    monkeypatch.setattr("schemas.shards.ranged.checksum_of_sequence", counted)
    split = PackedSplit([directory], "train")
    first, second = split.read(0, ranges=ranges), split.read(0, ranges=ranges)
    assert len(compared) == 1
    assert [part.tobytes() for part in first] == [part.tobytes() for part in second]


def test_a_modified_card_is_rejected(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S)
    _overwrite(directory / "dataset.json", b'"attention": "document"', b'"attention": "sequence"')
    with pytest.raises(DatasetError, match=r"dataset.json was modified"):
        PackedSplit([directory], "train")


@pytest.fixture
def remote(directory: Path, s3: ObjectServer) -> Location:
    """The dataset in S3."""
    folder = s3.bucket() / "packed" / "128"
    for path in directory.iterdir():
        (folder / path.name).write(path.read_bytes())
    return folder


def test_a_dataset_in_an_object_store_is_read_as_from_disk(
    split: PackedSplit, remote: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    plain = Location.read_range
    monkeypatch.setattr(Location, "read_range", lambda p, at, length: made.append(length) or plain(p, at, length))
    there = PackedSplit([remote], "train")
    assert there.is_remote
    assert not split.is_remote
    assert (len(there), there.fingerprint) == (len(split), split.fingerprint)
    assert made == []
    for ranges in (None, np.array([[0, 16], [64, 81]])):
        for index in range(len(split)):
            for one, other in zip(there.read(index, ranges=ranges), split.read(index, ranges=ranges), strict=True):
                assert np.array_equal(one, other)
    assert len(made) == len(split) * (1 + 4)  # whole, then two headers and two ranges
    with pytest.raises(DatasetError, match="has no sequences in the split 'test'"):
        PackedSplit([remote], "test")


def test_a_dataset_that_is_replaced_while_it_is_read_is_not_called_damaged(
    directory: Path, remote: Location, tmp_path: Path
) -> None:
    local = located(shutil.copytree(directory, tmp_path / "set"))
    for folder in (local, remote):
        split = PackedSplit([folder], "train")
        other = dataclasses.replace(read_card(folder), fingerprint="0" * 64)
        for shard in folder.list("*.tar"):
            shard.delete()
        with pytest.raises(DamagedSequence, match="cannot be read: (?i:no such)"):
            split.read(0)
        (folder / CARD).write(other.to_json().encode())
        with pytest.raises(DatasetError, match="was replaced by `longreel takedown` or `longreel pack`") as caught:
            split.read(0)
        assert not isinstance(caught.value, DamagedSequence)


def test_a_missing_or_truncated_shard_in_an_object_store_is_reported(remote: Location) -> None:
    shard = remote.list("train-*.tar")[0]
    data = shard.read()
    shard.write(data[:-1])
    with pytest.raises(DatasetError, match=rf"{shard} has {len(data) - 1} bytes, the index says {len(data)}"):
        PackedSplit([remote], "train")
    shard.delete()
    with pytest.raises(DatasetError, match=f"{shard} is missing"):
        PackedSplit([remote], "train")
