"""What a takedown finds: copies, near-duplicates that were compared or inferred, and what shares less."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.dedup.pairs import Pair
from pipeline.runtime.workspace import Workspace
from pipeline.takedown.find import Found, find, is_stale
from schemas.errors import ConfigError
from tests.support.signatures import scene, signature, write_signatures
from tests.support.survey_rows import book, pair, video, write_survey


def found(tmp_path: Path, rows: Sequence[Any], pairs: Sequence[Pair], name: str, **options: Any) -> Found:
    workspace = Workspace.open(tmp_path / "out", units=2)
    write_survey(workspace, rows, pairs)
    return find(workspace, [name], [], **{"near_duplicates": True, "min_containment": 0.5} | options)


def test_copies_are_followed_by_bytes_and_content_until_there_are_no_more(tmp_path: Path) -> None:
    rows = [
        video("/v/a.mp4", document_id="d1", content_id="c1"),
        video("/v/b.mp4", document_id="d1", content_id="c2"),
        video("/v/c.mp4", document_id="d3", content_id="c2"),
        video("/v/other.mp4"),
    ]
    result = found(tmp_path, rows, [], "a.mp4", near_duplicates=False)
    assert result.uris == {"/v/a.mp4", "/v/b.mp4", "/v/c.mp4"}
    assert (result.documents, result.contents) == ({"d1", "d3"}, {"c1", "c2"})
    assert {target.uri: target.because for target in result.targets} == {
        "/v/a.mp4": "requested",
        "/v/b.mp4": "same bytes as /v/a.mp4",
        "/v/c.mp4": "same content as /v/b.mp4",
    }


@pytest.mark.parametrize(("of_item", "of_other", "is_near"), [(0.6, 0.1, True), (0.1, 0.6, True), (0.4, 0.4, False)])
def test_an_item_is_near_if_either_contains_half_of_the_other(
    tmp_path: Path, of_item: float, of_other: float, is_near: bool
) -> None:
    item, other = video("/v/a.mp4"), video("/v/b.mp4")
    result = found(tmp_path, [item, other], [pair(item, other, of_one=of_item, of_other=of_other)], "a.mp4")
    assert ("/v/b.mp4" in result.uris) is is_near
    assert [related.uri for related in result.related] == ([] if is_near else ["/v/b.mp4"])


def test_near_duplicates_of_near_duplicates_are_inferred_and_unrelated_parts_of_one_are_not(tmp_path: Path) -> None:
    item, copy, far = video("/v/a.mp4"), video("/v/b.mp4"), video("/v/c.mp4")
    whole, part = video("/v/anthology.mp4"), video("/v/unrelated.mp4")
    pairs = [
        pair(item, copy, of_one=0.95, of_other=0.95),
        pair(copy, far, of_one=0.95, of_other=0.95),
        pair(item, whole, of_one=1.0, of_other=0.1),
        pair(part, whole, of_one=1.0, of_other=0.1),
    ]
    result = found(tmp_path, [item, copy, far, whole, part], pairs, "a.mp4")
    assert result.uris == {"/v/a.mp4", "/v/b.mp4", "/v/c.mp4", "/v/anthology.mp4"}


def test_items_that_were_surveyed_after_the_search_are_compared_by_their_keys(tmp_path: Path) -> None:
    grays = scene(1, 10)
    workspace = write_signatures(
        tmp_path / "out", [signature("a", grays), signature("b", grays[2:]), signature("c", scene(2, 10))]
    )
    assert is_stale(workspace)
    name = f"{signature('a', grays).content_id[:8]}.mp4"
    result = find(workspace, [name], [], near_duplicates=True, min_containment=0.5)
    assert result.contents == {signature(letter, grays).content_id for letter in "ab"}


def test_a_name_of_several_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the full address"):
        found(tmp_path, [video("/v/a.mp4"), video("/w/a.mp4")], [], "a.mp4")


def test_the_address_of_a_row_names_its_present_text_only(tmp_path: Path) -> None:
    uri = "/b/rows.jsonl#byte=000000000000"
    result = found(tmp_path, [book(uri, document_id="d1"), book("/b/b.txt", document_id="d2")], [], uri)
    assert (result.uris, result.documents) == ({uri}, {"d1"})
