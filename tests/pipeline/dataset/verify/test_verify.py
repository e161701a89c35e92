from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.verify.verify import MOST_PROBLEMS, verify
from pipeline.packing.config import PackConfig
from pipeline.runtime.token_store import TokenStore
from schemas.dataset import read_card
from schemas.dataset_files import plain_name
from schemas.storage.location import located
from tests.support.datasets.altered_datasets import (
    DOCUMENTS,
    KEY,
    SHARD,
    named,
)
from tests.support.datasets.packed_datasets import reseal
from tests.support.packing.local_packing import pack_documents
from tests.support.stored_files import file_of, index_of
from tests.support.token_stores import book

pytestmark = pytest.mark.slow


def test_an_intact_dataset_has_no_problems(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = verify(root / "packed", store=TokenStore(located(root / "tokens")), progress=lambda *at: seen.append(at))
    assert report.problems == ()
    assert report.found == 0
    size = sum(p.stat().st_size for p in (root / "packed").glob("*.tar"))
    assert seen[-1] == (size, size)
    assert report.tokens == sum(len(d.tokens) for d in DOCUMENTS)
    assert "OK: dataset verified: 4 shards" in report.summary()


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_every_changed_byte_is_detected(
    root: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = Path(shutil.copytree(root / "packed", tmp_path_factory.mktemp("flip") / "packed"))
    path = data.draw(st.sampled_from(sorted(directory.iterdir())))
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3, unique=True)):
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    report = verify(directory)
    assert report.found
    assert any(problem.file == path.name for problem in report.problems)
    shutil.rmtree(directory)


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_random_bytes_with_correct_hashes_are_reported_without_a_crash(
    root: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = Path(shutil.copytree(root / "packed", tmp_path_factory.mktemp("junk") / "packed"))
    path = data.draw(st.sampled_from(sorted(directory.glob("*.tar"))))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + 200] = data.draw(st.binary(min_size=1, max_size=200))
    path.write_bytes(content)
    reseal(directory)
    report = verify(directory, store=TokenStore(located(root / "tokens")))
    changed = content != (root / "packed" / path.name).read_bytes()
    assert bool(report.found) == changed
    shutil.rmtree(directory)


@pytest.mark.parametrize(("at", "key", "what"), [(-1, "", "does not end in zeros"), (1, KEY, "not padded with zeros")])
def test_padding_of_the_archive_that_is_not_zero_is_reported(dataset: Path, at: int, key: str, what: str) -> None:
    path = file_of(dataset, SHARD)
    data = bytearray(path.read_bytes())
    data[-1 if at < 0 else index_of(dataset)[0].offsets[2] - 1] = 1
    path.write_bytes(data)
    reseal(dataset)
    assert named(verify(dataset), SHARD, key, what)


def test_the_lost_sequences_of_a_truncated_shard_are_reported(dataset: Path) -> None:
    shard = index_of(dataset)[0]
    os.truncate(file_of(dataset, SHARD), shard.offsets[1] + 100)
    report = verify(dataset)
    assert named(report, SHARD, "", f"it has {shard.offsets[1] + 100} bytes, the index says {shard.filesize}")
    assert not named(report, SHARD, "train-000000000", "")
    assert named(report, SHARD, KEY, "the shard ends at byte")
    assert named(report, SHARD, f"train-{shard.nsamples - 1:09d}", "the shard ends at byte")


@pytest.mark.parametrize("content", [b"", b"\0" * 10240, b"not a tar at all" * 2000])
def test_a_file_that_is_not_a_shard_is_reported(dataset: Path, content: bytes) -> None:
    file_of(dataset, SHARD).write_bytes(content)
    assert named(verify(dataset), SHARD, "", "it was modified")


@pytest.mark.parametrize("name", ["dataset.json", "index.json", "documents.parquet", SHARD])
def test_a_missing_file_is_reported(dataset: Path, name: str) -> None:
    file_of(dataset, name).unlink()
    report = verify(dataset)
    assert plain_name(report.problems[0].file) == name or named(report, name, "", "missing")


def test_a_shard_that_is_not_in_the_index_is_reported(dataset: Path) -> None:
    shutil.copy(file_of(dataset, SHARD), dataset / "train-000003-of-000004.tar")
    assert named(verify(dataset), "train-000003-of-000004.tar", "", "a file that does not belong here")


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    assert "no such dataset directory" in verify(tmp_path / "nowhere").problems[0].what


def index_with(url: str) -> bytes:
    """Return an index of one shard without sequences."""
    split = {"split": "train", "dataset": "train"}
    row = {"url": url, **split, "nsamples": 0, "filesize": 0, "sha256": "", "offsets": [0]}
    return json.dumps({"shardlist": [row]}).encode()


@pytest.mark.parametrize(
    "junk",
    [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"shardlist": [3]}', b'{"shardlist": 3}',
     index_with("../a.tar"), index_with("\0"), index_with("a.tar").replace(b"[0]", b'["0"]')],
)  # fmt: skip
@pytest.mark.parametrize("name", ["dataset.json", "index.json"])
def test_invalid_json_is_reported(dataset: Path, name: str, junk: bytes) -> None:
    file_of(dataset, name).write_bytes(junk)
    assert plain_name(verify(dataset).problems[0].file) == name


def test_the_report_lists_the_first_problems_and_counts_all(tmp_path: Path) -> None:
    documents = [book(f"book {i}", 64) for i in range(150)]
    directory = pack_documents(tmp_path, documents, PackConfig())
    assert read_card(directory).splits["train"].sequences == 150
    shard = file_of(directory, "train-000000-of-000001.tar")
    shard.write_bytes(shard.read_bytes().replace(b"0000444\0", b"0000644\0"))
    report = verify(directory)
    assert len(report.problems) == MOST_PROBLEMS
    assert report.found == 151
    assert "151 problems, the first 100 named" in report.summary()
