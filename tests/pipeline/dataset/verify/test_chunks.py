from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.verify.chunks import ChunkLog
from pipeline.dataset.verify.verify import verify
from pipeline.packing.config import PackConfig
from pipeline.packing.mixture import Mixture
from pipeline.runtime.token_store import TokenStore
from schemas.dataset import read_card
from schemas.packed import SPAN_DTYPE
from schemas.shards.sequence import Chunk, PackedSequence
from schemas.storage.location import located
from schemas.tables import write_table
from schemas.vocab import VISION
from tests.support.datasets.altered_datasets import (
    DOCUMENTS,
    KEY,
    SHARD,
    array,
    first_span,
    named,
    put,
    rewrite,
)
from tests.support.datasets.packed_datasets import reseal
from tests.support.packing.local_packing import pack_documents
from tests.support.stored_files import file_of
from tests.support.token_stores import VOCABULARY, book, write_store


def test_a_chunk_in_two_sequences_is_reported(dataset: Path) -> None:
    """The second sequence repeats the first, and so does the ledger."""
    with tarfile.open(file_of(dataset, SHARD)) as tar:
        members = {m.name.replace("000000000", "000000001", 1): tar.extractfile(m).read() for m in list(tar)[:3]}  # type: ignore[union-attr]
    rewrite(dataset, lambda _: members)
    path = file_of(dataset, "documents.parquet")
    table = pq.read_table(path)
    keys = table["sequence"]
    first, second = (pc.equal(keys, f"train-00000000{i}") for i in (0, 1))
    copied = table.filter(first)
    copied = copied.set_column(0, table.schema.field(0), pa.array([KEY] * len(copied)))
    others = table.filter(pc.and_(pc.invert(first), pc.invert(second)))
    write_table(path, pa.concat_tables([table.filter(first), copied, others]))
    reseal(dataset)
    report = verify(dataset)
    assert any("a chunk begins at token" in p.what for p in report.problems), report.problems


def test_tokens_that_differ_from_the_store_are_reported(dataset: Path, root: Path) -> None:
    at = first_span(dataset, VISION)
    rewrite(dataset, array("tokens", put(None, at, VOCABULARY.text_size + 19)))
    rewritten = verify(dataset)
    assert rewritten.problems == ()  # a valid dataset, but of other tokens
    report = verify(dataset, store=TokenStore(located(root / "tokens")))
    assert named(report, SHARD, KEY, "differ from the token store")


def test_documents_missing_from_the_dataset_or_the_store_are_reported(root: Path, tmp_path: Path) -> None:
    more = write_store(tmp_path / "more", [*DOCUMENTS[1:], book("another", 40)])
    report = verify(root / "packed", store=more)
    assert any("is not in the token store" in p.what and DOCUMENTS[0].id in p.what for p in report.problems)
    assert any(p.what.startswith("the dataset has 0 of 40 tokens of document") for p in report.problems)


def test_documents_that_the_mixture_excludes_or_repeats_are_expected(tmp_path: Path) -> None:
    mixture = Mixture(kind_epochs={"book": 2.0, "image": 0.0}, min_tokens=40)
    directory = pack_documents(tmp_path, DOCUMENTS, PackConfig(mixture=mixture))
    store = TokenStore(located(tmp_path / "tokens"))
    card = read_card(directory)
    assert sum(card.left_out.values()) == sum(d.kind == "image" or len(d.tokens) < 40 for d in DOCUMENTS)
    assert verify(directory, store=store).problems == ()
    (directory / "dataset.json").write_text(dataclasses.replace(card, left_out={"empty": 9}).to_json())
    names = [d.id for d in DOCUMENTS if d.kind == "image" or len(d.tokens) < 40]
    problems = [p.what for p in verify(directory, store=store).problems]
    assert all(any(name in what and "has 0 of" in what for what in problems) for name in names)
    # The store's copy of a book is longer than what was packed of it.
    longer = [book("book 3", 80) if d.id == DOCUMENTS[3].id else d for d in DOCUMENTS]
    report = verify(directory, store=write_store(tmp_path / "longer", longer))
    assert any(f"has 63 of 80 tokens of document {DOCUMENTS[3].id}, copy 1" in p.what for p in report.problems)


@pytest.mark.parametrize(
    ("ranges", "what"),
    [
        ([(0, 5), (5, 3)], []),
        ([(5, 3), (0, 5)], []),
        ([(0, 5), (4, 3)], ["a chunk begins at token 4 of its document, expected 5"]),
        ([(0, 5), (6, 3)], ["a chunk begins at token 6 of its document, expected 5"]),
        ([(2, 3)], ["a chunk begins at token 2 of its document, expected 0"]),
    ],
)
def test_chunks_must_join_without_gap_or_overlap(ranges: list[tuple[int, int]], what: list[str]) -> None:
    log = ChunkLog(None)
    for i, (start, length) in enumerate(ranges):
        chunks = [Chunk("a", 0, start, length), Chunk("b", i, 0, 4)]
        spans = np.zeros(0, SPAN_DTYPE)
        assert list(log.add(PackedSequence(f"train-{i}", np.zeros(16, np.uint16), spans, chunks))) == []
    assert [problem for _, problem in log.problems()] == what
