from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.dataset.forget.documents import DocumentRef, choose, find_documents
from pipeline.dataset.forget.forget import forget
from schemas.dataset import read_card
from schemas.errors import ConfigError
from tests.support.forget_datasets import (
    DOCUMENTS,
    LONG,
    contents,
)
from tests.support.packed_datasets import make_dataset
from tests.support.token_stores import book, video


def test_documents_are_selected_by_id_prefix_or_uri(dataset: Path) -> None:
    items = [DOCUMENTS[0].id, DOCUMENTS[1].id[:8], "files/video 3"]
    forget(dataset, items)
    assert read_card(dataset).forgotten == tuple(sorted([DOCUMENTS[0].id, DOCUMENTS[1].id, video("video 3", [1]).id]))


def test_a_uri_selects_all_documents_with_it(tmp_path: Path) -> None:
    facts = {"uri": "files/both"}
    both = [dataclasses.replace(book(name, 40), facts=facts) for name in ("a", "b")]
    dataset = make_dataset(tmp_path, [*both, book("c", 50)])
    forget(dataset, ["files/both"])
    assert read_card(dataset).forgotten == tuple(sorted(d.id for d in both))


@pytest.mark.parametrize(
    ("items", "what"),
    [
        ([DOCUMENTS[0].id, "nowhere.mp4", "f" * 64], "'nowhere.mp4' is not an id.*'ffffffff"),
        ([DOCUMENTS[0].id[:7]], "is not an id, a prefix of at least 8"),
        ([""], "'' is not an id"),
        ([], "name at least one"),
    ],
)
def test_unknown_names_are_reported_and_nothing_changes(dataset: Path, items: list[str], what: str) -> None:
    before = contents(dataset)
    with pytest.raises(ConfigError, match=what):
        forget(dataset, items)
    assert contents(dataset) == before


def test_a_prefix_of_several_ids_is_rejected(tmp_path: Path) -> None:
    first, second = (dataclasses.replace(book(n, 40), facts={"document_id": "0123456789" + n * 54}) for n in "ab")
    dataset = make_dataset(tmp_path, [first, second, book("c", 50)])
    with pytest.raises(ConfigError, match="prefix of 2 documents"):
        forget(dataset, ["0123456789"])
    forget(dataset, ["0123456789a"])
    assert read_card(dataset).forgotten == ("0123456789" + "a" * 54,)


def test_a_document_matches_its_id_its_items_id_its_uri_and_long_prefixes() -> None:
    clip = DocumentRef("0123456789abcdef#00001", "files/clip", None)
    assert all(clip.has_name(name) for name in ("0123456789abcdef#00001", "0123456789abcdef", "files/clip"))
    assert not clip.has_name("01234567")
    assert clip.matches("01234567")
    assert not clip.matches("0123456")
    assert not clip.matches("files")


def test_choose_returns_names_of_forgotten_documents_separately() -> None:
    present = DocumentRef("b" * 64, "files/b", "B")
    assert choose(["b" * 8, "a" * 8], [present], ["a" * 64]) == ([present], ["a" * 8])


def test_find_documents_returns_each_document_once_sorted_by_id(dataset: Path) -> None:
    wanted = sorted([LONG.id, DOCUMENTS[0].id])
    found = find_documents(dataset / "documents.parquet", [LONG.id, LONG.id, "files/book 0", "nowhere"])
    assert [document.document_id for document in found] == wanted


def test_a_prefix_of_two_item_ids_matches_neither() -> None:
    found = [
        DocumentRef(f"{name}{'0' * 54}#0000{n}", "f", None) for name in ("abcdefgh01", "abcdefgh02") for n in range(2)
    ]
    with pytest.raises(ConfigError, match="prefix of 2 documents"):
        choose(["abcdefgh"], found, [])
    with pytest.raises(ConfigError, match="prefix of 2 documents"):
        choose([found[0].document_id[:-1]], found, [])
    assert choose(["abcdefgh01"], found, [])[0] == found[:2]
