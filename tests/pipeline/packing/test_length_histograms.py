from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.packing.chunks import documents_of
from pipeline.packing.length_histograms import (
    ROLES,
    LengthHistograms,
    count_lengths,
    read_histograms,
    sum_histograms,
    write_histograms,
)
from pipeline.packing.mixture import Mixture
from schemas.errors import DatasetError
from schemas.records import TOKENS
from schemas.storage.location import located
from tests.support.packing.local_packing import CONTEXT
from tests.support.packing.packing_cases import (
    DOCUMENTS,
)
from tests.support.token_stores import StoredDocument, book, image, video


def counted(documents: Sequence[StoredDocument], **mixture: Any) -> LengthHistograms:
    table = pa.Table.from_pylist([d.row() for d in documents], TOKENS)
    return count_lengths(documents_of(table), Mixture(**mixture), context_length=CONTEXT, text_factor=1.0, seed=0)


def test_copies_are_counted_and_excluded_documents_are_not() -> None:
    histograms = counted(
        [book("a", 40), book("b", 40), video("c", [2]), image("d")], kind_epochs={"book": 2, "image": 0}
    )
    train = histograms.splits["train"]
    assert (histograms.rows, histograms.excluded, train.documents) == (4, {"left out by the mixture": 1}, 5)
    assert (train.text.lengths.tolist(), train.text.counts.tolist()) == ([40], [4])
    assert train.item.tokens == len(video("c", [2]).tokens)
    assert (histograms.text_tokens, histograms.other_tokens) == (160, train.item.tokens)
    assert train.targets == 4 * 39 + train.item.tokens - 1


def assert_equal(one: LengthHistograms, other: LengthHistograms) -> None:
    """Compare two histograms field by field."""
    plain = ("rows", "excluded", "digest", "text_tokens", "other_tokens")
    assert [getattr(one, name) for name in plain] == [getattr(other, name) for name in plain]
    assert list(one.splits) == list(other.splits)
    for name, split in one.splits.items():
        same = other.splits[name]
        assert (split.documents, split.targets) == (same.documents, same.targets)
        for role in ROLES:
            assert [x.tolist() for x in getattr(split, role)] == [x.tolist() for x in getattr(same, role)]


def test_the_sum_over_units_equals_the_count_of_all_documents() -> None:
    assert_equal(sum_histograms(counted([d]) for d in DOCUMENTS), counted(DOCUMENTS))
    assert sum_histograms([]).splits == {}


def test_written_histograms_are_restored(tmp_path: Path) -> None:
    histograms = counted(DOCUMENTS)
    write_histograms(located(tmp_path / "unit.parquet"), histograms)
    assert_equal(read_histograms(located(tmp_path / "unit.parquet")), histograms)


@pytest.mark.parametrize("content", [None, b"PAR1"])
def test_a_missing_or_invalid_file_raises(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "unit.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be read .* run `longreel pack` again"):
        read_histograms(located(path))
