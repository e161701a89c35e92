"""The block list: by address, hash and similarity, without content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.dedup.block_list import BlockedItem, BlockList, SampleKeys, search_of, write_blocked
from pipeline.dedup.book_similarity import book_signature
from pipeline.dedup.similarity import Signature
from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError
from schemas.rows import SignatureRow
from tests.support.signatures import scene, signature
from tests.support.texts import story


def row(found: Signature) -> SignatureRow:
    return SignatureRow(
        content_id=found.content_id,
        kind=found.kind,
        starts=found.starts.tolist(),
        lengths=found.lengths.tolist(),
        samples=found.samples,
    )


def blocked(found: Signature) -> BlockList:
    keys = SampleKeys.of(row(found))
    assert keys is not None
    item = BlockedItem(
        uri="/v/a", kind=found.kind, takedown="t", content_id="c", search=search_of(found.kind), samples=keys
    )
    return BlockList((item,))


FILM = scene(1, 90)
NOISY = [np.clip(gray + np.random.default_rng(n).normal(0, 3, gray.shape), 0, 255).astype(np.uint8)
         for n, gray in enumerate(FILM)]  # fmt: skip


@pytest.mark.parametrize(
    ("grays", "is_like"),
    [
        (NOISY, True),  # another encoding
        (scene(1, 90, start=0.2), True),  # other key frames
        (scene(1, 40, start=30), True),  # a part
        ([*scene(2, 30), *FILM], True),  # a longer version
        ([*scene(2, 200), *scene(1, 10)], False),  # shares some seconds
        (scene(3, 90), False),
    ],
)
def test_copies_parts_and_longer_versions_of_a_video_are_recognized(grays: list[np.ndarray], is_like: bool) -> None:
    assert bool(blocked(signature("a", FILM)).like(row(signature("b", grays)))) is is_like


def test_other_videos_are_not_taken_for_a_blocked_one() -> None:
    block_list = blocked(signature("a", scene(1, 60)))
    assert not any(block_list.like(row(signature(str(n), scene(n, 5)))) for n in range(10, 30))


@pytest.mark.slow
def test_an_image_needs_more_than_one_key_in_common() -> None:
    pictures = [scene(n, 0.5) for n in range(80)]
    block_list = blocked(signature("a", pictures[0], kind="image"))
    noisy = [np.clip(pictures[0][0] + 2.0, 0, 255).astype(np.uint8)]
    assert block_list.like(row(signature("b", noisy, kind="image")))
    assert not any(block_list.like(row(signature(f"{n}", pictures[n], kind="image"))) for n in range(1, 80))


def test_editions_and_anthologies_of_a_book_are_recognized() -> None:
    block_list = blocked(book_signature(story(1, 400), "a"))
    edition = "A preface.\n\n" + story(1, 400).replace("widow", "lady")
    for text, is_like in ((edition, True), (story(2, 300) + story(1, 400), True), (story(2, 400), False)):
        assert bool(block_list.like(row(book_signature(text, "b")))) is is_like


def test_the_list_is_read_as_written_and_finds_items_by_address_and_hash(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    assert not BlockList.read(workspace)
    item = blocked(signature("a", FILM)).items[0]
    other = BlockedItem(uri="/v/t.jsonl#byte=000000000000", kind="book", takedown="t", document_id="d")
    write_blocked(workspace, "t", [item, other])
    found = BlockList.read(workspace)
    assert found.at("/v/a") is found.items[0]
    assert found.at(other.uri) is None  # the address of a row names another text after the table was edited
    assert found.with_hash(None, "d") is found.items[1]
    assert found.with_hash("x", None) is None
    assert found.takedowns == {"c": "t", "d": "t"}
    assert found.like(row(signature("b", NOISY)))


def test_the_list_contains_no_sample(tmp_path: Path) -> None:
    workspace, film = Workspace.open(tmp_path / "out", units=1), signature("a", FILM)
    path = write_blocked(workspace, "t", blocked(film).items)
    assert not any(sample[:16] in path.read() for sample in film.samples)


def test_a_damaged_list_is_an_error_and_not_empty(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    path = write_blocked(workspace, "t", [BlockedItem(uri="/v/a", kind="video", takedown="t")])
    path.write(path.read()[:-9])
    with pytest.raises(DatasetError, match="restore it from a backup"):
        BlockList.read(workspace)
