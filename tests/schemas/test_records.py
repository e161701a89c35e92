from __future__ import annotations

from schemas.records import LEDGER, MANIFEST, SURVEY, clip_id, item_of


def test_clip_ids_sort_by_number_and_give_the_item() -> None:
    ids = [clip_id("abc", number) for number in (0, 9, 10, 99_999)]
    assert ids[:2] == ["abc#00000", "abc#00009"]
    assert ids == sorted(ids)
    assert {item_of(name) for name in ids} == {"abc"}


def test_the_document_of_a_whole_item_has_its_id() -> None:
    assert item_of("abc") == "abc"


def test_the_survey_starts_with_the_columns_of_the_manifest() -> None:
    assert SURVEY.names[: len(MANIFEST)] == MANIFEST.names


def test_the_identity_of_a_span_is_never_null() -> None:
    required = {"sequence", "shard", "span", "start", "length", "document_id", "copy", "document_start", "uri"}
    assert not any(LEDGER.field(name).nullable for name in required)
