"""The items of all inputs in one table."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable, Iterator

import pytest

from pipeline.sources.listed_items import ListedItem, items_once
from schemas import large_tables
from schemas.large_tables import BATCH_ROWS, large_schema
from schemas.printable import printable
from schemas.records import MANIFEST
from schemas.rows import ManifestItem, manifest_items


def conflict(uri: str, sources: Iterable[str]) -> ManifestItem:
    return ManifestItem(uri=uri, kind="unknown", reason="invalid_row", detail=printable(" and ".join(sorted(sources))))


def found(*listed: tuple[str, ManifestItem]) -> list[ManifestItem]:
    return manifest_items(items_once([ListedItem(*one) for one in listed], conflict))


def item(name: str, title: str | None = None) -> ManifestItem:
    return ManifestItem(uri=name, kind="book", title=title, captions=("one", "two") if title else ())


def test_items_are_sorted_by_address_as_python_sorts_strings() -> None:
    names = ["/b", "/ä", "/a/b", "/a.b", "/Z", "/\U0001f600", "/\ufffd"]
    assert [one.uri for one in found(*(("m", item(name)) for name in names))] == sorted(names)


def test_an_item_that_is_listed_twice_with_equal_values_is_there_once() -> None:
    assert found(("m", item("/a", "t")), ("n", item("/b")), ("o", item("/a", "t"))) == [item("/a", "t"), item("/b")]


def test_a_conflict_names_the_first_source_and_those_that_differ_from_it() -> None:
    listed = [("z", item("/a", "t")), ("m", item("/a", "t")), ("n", item("/a")), ("o", item("/b")), ("n", item("/a"))]
    assert found(*listed) == [conflict("/a", ["n", "z"]), item("/b")]


def test_an_item_that_is_listed_by_many_batches_is_there_once() -> None:
    names = [f"/{n // 3}" for n in range(2 * BATCH_ROWS)]
    random.Random(0).shuffle(names)
    assert [one.uri for one in found(*(("m", item(name)) for name in names))] == sorted(set(names))


def test_a_source_with_a_name_that_is_not_utf8_is_named() -> None:
    assert found(("caf\udce9", item("/a", "t")), ("n", item("/a")))[0].detail == printable("caf\udce9 and n")


def test_no_items_are_an_empty_table() -> None:
    assert items_once([], conflict).schema == large_schema(MANIFEST)


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 2])
def test_no_more_items_than_those_of_a_batch_are_objects_at_a_time(
    copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_tables, "BATCH_ROWS", 100)

    def peak(count: int) -> int:
        listed: Iterator[ListedItem] = (
            ListedItem(f"m.csv, row {n}", item(f"/a/folder/a name {n}.txt"))
            for n in range(count)
            for _ in range(copies)
        )
        tracemalloc.start()
        try:
            assert len(items_once(listed, conflict)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Python objects only: Arrow allocates its buffers elsewhere. An item is more than 500 bytes of them.
    assert (peak(3000) - peak(1000)) / 2000 < 100
