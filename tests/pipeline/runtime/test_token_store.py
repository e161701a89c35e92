from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.runtime import token_store as store
from pipeline.runtime.token_store import StoreFacts, TokenStore, one_of_each_item, read_unit, remove_unit, write_unit
from schemas.errors import DatasetError
from schemas.records import TOKENS
from schemas.rows import DocumentRow
from schemas.storage.location import located


def row(name: str, **changes: Any) -> DocumentRow:
    return DocumentRow(document_id=name, fingerprint="f", kind="book", split="train", uri=name, **changes)


@given(lengths=st.lists(st.integers(0, 300), min_size=1, max_size=30), batch_bytes=st.integers(1, 600))
@settings(deadline=None, max_examples=25)
def test_every_document_reads_back_for_any_batch_size(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], batch_bytes: int
) -> None:
    directory = tmp_path_factory.mktemp("store")
    documents = [np.arange(n, dtype=np.uint16) + i for i, n in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "BATCH_BYTES", batch_bytes)
        write_unit(located(directory), 3, [(row(f"{i:03d}"), d) for i, d in enumerate(documents)], np.dtype(np.uint16))
    opened = TokenStore(located(directory))
    for facts, expected in zip(opened.table().to_pylist(), documents, strict=True):
        place = facts["unit"], facts["batch"], facts["row"]
        assert np.array_equal(opened.read(*place), expected)
        assert np.array_equal(opened.read(*place, len(expected) // 3, len(expected) // 2), 
                              expected[len(expected) // 3 :][: len(expected) // 2])  # fmt: skip


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    documents = [(row("a"), np.arange(9)), (row("b"), np.arange(5))]
    for name in ("one", "two"):
        write_unit(located(tmp_path / name), 0, documents, np.dtype(np.uint32))
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert first == second


def test_a_rejected_row_stores_no_tokens_and_is_not_in_the_table(tmp_path: Path) -> None:
    rows = [(row("a", reason="crashed"), np.zeros(0)), (row("b"), np.arange(4))]
    write_unit(located(tmp_path), 0, rows, np.dtype(np.uint16))
    opened = TokenStore(located(tmp_path))
    assert opened.table()["document_id"].to_pylist() == ["b"]
    assert opened.rows()["reason"].to_pylist() == ["crashed", None]


def test_a_failing_source_leaves_the_old_unit_readable(tmp_path: Path) -> None:
    write_unit(located(tmp_path), 0, [(row("a"), np.arange(4))], np.dtype(np.uint16))

    def failing() -> Any:
        yield row("a"), np.arange(7)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_unit(located(tmp_path), 0, failing(), np.dtype(np.uint16))
    assert TokenStore(located(tmp_path)).read(0, 0, 0).tolist() == [0, 1, 2, 3]
    assert len(list(tmp_path.iterdir())) == 2


def test_replacing_and_removing_a_unit_leaves_no_old_files(tmp_path: Path) -> None:
    for n in (4, 5):
        write_unit(located(tmp_path), 0, [(row("a"), np.arange(n))], np.dtype(np.uint16))
    assert len(list(tmp_path.iterdir())) == 2
    remove_unit(located(tmp_path), 0)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_unit(located(tmp_path), 0, [(row("a"), np.arange(4000))], np.dtype(np.uint16))
    (arrow,) = tmp_path.glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"unit-00000.*\.arrow has \d+ bytes, its index says"):
        TokenStore(located(tmp_path)).read(0, 0, 0)


@pytest.mark.parametrize("place", [(1, 0, 0), (0, 7, 0), (0, 0, 9), (0, 0, 0, 2, 3), (0, 0, 0, -1)])
def test_a_missing_unit_row_or_range_is_an_error(tmp_path: Path, place: tuple[int, ...]) -> None:
    write_unit(located(tmp_path), 0, [(row("a"), np.arange(4))], np.dtype(np.uint16))
    with pytest.raises(DatasetError):
        TokenStore(located(tmp_path)).read(*place)


@pytest.mark.parametrize("name", ["unit-00000.parquet", "unit-00000-*.arrow"])
@pytest.mark.parametrize("content", [b"", b"PAR1 garbage PAR1", None])
def test_a_damaged_unit_is_an_error_that_names_it_and_is_computed_again(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    write_unit(located(tmp_path), 0, [(row("a"), np.arange(4))], np.dtype(np.uint16))
    assert len(read_unit(located(tmp_path), 0)) == 1
    (path,) = tmp_path.glob(name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert len(read_unit(located(tmp_path), 0)) == 0
    with pytest.raises(DatasetError, match="unit-00000"):
        TokenStore(located(tmp_path)).read(0, 0, 0)
    if path.suffix == ".parquet" and content is not None:
        with pytest.raises(DatasetError, match=r"unit-00000\.parquet cannot be read"):
            TokenStore(located(tmp_path)).rows()


def test_an_empty_store_has_no_items() -> None:
    assert one_of_each_item(TOKENS.empty_table()).num_rows == 0


def test_a_store_without_facts_is_an_error_that_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="longreel tokenize"):
        StoreFacts.read(located(tmp_path))
