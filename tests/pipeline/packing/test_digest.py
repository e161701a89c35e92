from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.packing.digest import DIGESTS, check_spans, digest_array, digest_documents
from schemas.errors import DatasetError
from schemas.records import TOKENS
from schemas.vocab import TEXT
from tests.support.token_stores import StoredDocument, book, image, video


def table_of(*documents: StoredDocument) -> pa.Table:
    return pa.Table.from_pylist([d.row() for d in documents], TOKENS)


def test_digests_of_documents_are_additive() -> None:
    documents = [book("a", 9), video("b", [2]), image("c")]
    parts = sum(digest_documents(table_of(d)) for d in documents[::-1])
    assert digest_documents(table_of(*documents)) == parts % DIGESTS
    assert digest_documents(TOKENS.empty_table()) == 0


def test_the_digest_depends_on_content_but_not_on_storage_location() -> None:
    original = digest_documents(table_of(book("a", 9)))
    moved, retitled = (replace(book("a", 9), facts=facts) for facts in ({"unit": 5, "row": 8}, {"title": "Another"}))
    assert digest_documents(table_of(moved)) == original
    assert digest_documents(table_of(retitled)) != original


def test_the_digest_of_an_array_does_not_depend_on_the_byte_order() -> None:
    values = np.array([1, 2, 1 << 40], np.int64)
    assert digest_array(values) == digest_array(values.astype(">i8"))
    assert digest_array(values) != digest_array(values[::-1])


@pytest.mark.parametrize(("start", "length"), [((0, 5), (4, 5)), ((0, 4), (4, 4)), ((4, 0), (5, 4)), ((0, 0), (0, 9))])
def test_spans_with_gaps_overlaps_or_missing_tokens_raise(start: tuple[int, int], length: tuple[int, int]) -> None:
    span = {"modality": TEXT, "weight": 1.0}
    spans = [span | {"start": s, "length": n} for s, n in zip(start, length, strict=True)]
    row = book("a", 9).row() | {"spans": spans}
    check_spans(table_of(book("a", 9), image("b")))
    with pytest.raises(DatasetError, match="do not cover its 9 tokens in order and without gaps"):
        check_spans(pa.Table.from_pylist([image("b").row(), row], TOKENS))
