"""The text and the facts that a kept item takes over from its copies."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pipeline.dedup.pairs import Pair
from pipeline.select.config import SelectConfig
from pipeline.select.duplicate_text import Copy, adopt_text
from pipeline.select.rules import Clusters, judge_cluster
from schemas.rows import EMBEDDED, SurveyRow
from tests.support.survey_rows import Row, book, pair, select_config, typed, video

TRANSCRIPT = {"transcript": "/v/b.srt", "transcript_sha256": "s"}


def adopted(kept: Row, copy: Row, found: Pair | None) -> tuple[SurveyRow, str]:
    """Return the kept row, and what is said about the copy."""
    result = adopt_text(typed(kept), [Copy(typed(copy), found)], min_containment=0.8)
    return result.row, result.unused.get(copy["uri"], "")


def judged(rows: list[Row], pairs: list[Pair] | None = None, config: SelectConfig | None = None) -> list[SurveyRow]:
    config = config or SelectConfig()
    joined = [Clusters.of(pairs or [], config.keep).join(typed(row)) for row in rows]
    return sorted(judge_cluster(joined, pairs or [], config), key=lambda row: row.uri)


@pytest.mark.parametrize("names", list(itertools.permutations(["a.mp4", "b.mp4", "c.mp4"])))
def test_text_and_facts_of_equal_copies_reach_the_kept_one_in_any_order_of_names(names: tuple[str, ...]) -> None:
    same = {"content_id": "c", "document_id": "d"}
    rows = [
        video(names[0], captions=["a caption"], **same),
        video(names[1], title="a title", license="MIT", source="a site", metadata="{}", **same),
        video(names[2], **TRANSCRIPT, **same),
    ]
    kept, *others = judged(rows)
    assert (kept.uri, kept.reason, kept.captions, kept.title) == ("a.mp4", None, ("a caption",), "a title")
    assert (kept.license, kept.source, kept.metadata) == ("MIT", "a site", "{}")
    assert (kept.transcript, kept.transcript_sha256) == ("/v/b.srt", "s")
    assert kept.transcript_shift_s == (None if names[2] == "a.mp4" else 0.0)
    assert set(kept.text_from) == {names[0], names[2]} - {"a.mp4"}
    assert {row.detail for row in others} == {"same bytes as a.mp4"}


def test_a_kept_item_keeps_its_own_text_and_the_loss_is_stated() -> None:
    same = {"content_id": "c"}
    row, said = adopted(
        video("a.mp4", captions=["one"], transcript="/v/a.srt", transcript_sha256="t", license="MIT", **same),
        video("b.mp4", captions=["two"], license="GPL", **TRANSCRIPT, **same),
        None,
    )
    assert (row.captions, row.transcript, row.license, row.text_from) == (("one",), "/v/a.srt", "MIT", ())
    assert said == (
        "its license 'GPL' is not that of the kept copy ('MIT'); "
        "its captions are not used: the kept copy has others; its transcript is not used: the kept copy has another"
    )


def test_equal_text_is_no_loss() -> None:
    text = {"captions": ["one"], "transcript_sha256": "s", "content_id": "c"}
    first, second = video("a.mp4", transcript="/v/a.srt", **text), video("b.mp4", transcript="/v/b.srt", **text)
    assert adopted(first, second, None)[1] == ""


def test_a_license_is_not_taken_from_copies_that_contradict_each_other() -> None:
    same = {"content_id": "c"}
    copies = [Copy(typed(video(f"{name}.mp4", license=name, **same))) for name in ("MIT", "GPL")]
    found = adopt_text(typed(video("a.mp4", **same)), copies, min_containment=0.8)
    assert found.row.license is None
    assert set(found.unused.values()) == {
        "its license 'MIT' is not that of the kept copy (unknown)",
        "its license 'GPL' is not that of the kept copy (unknown)",
    }


def test_a_license_is_not_taken_from_a_near_duplicate() -> None:
    kept, copy = video("a.mp4"), video("b.mp4", license="MIT", title="a title")
    row, said = adopted(kept, copy, pair(kept, copy))
    assert (row.license, row.title, said) == (None, None, "")


@pytest.mark.parametrize("names", [("small.mp4", "whole.mp4"), ("z.mp4", "b.mp4")])
@pytest.mark.parametrize("height", [180, 60])  # 60: a limit rejects it
def test_the_text_of_a_smaller_encoding_reaches_the_larger_one(names: tuple[str, str], height: int) -> None:
    small = video(names[0], width=320, height=height, captions=["a caption"], **TRANSCRIPT)
    large = video(names[1])
    found = {row.uri: row for row in judged([small, large], [pair(small, large, of_one=0.98, of_other=0.97)])}
    assert found[names[0]].reason == ("near_duplicate" if height == 180 else "too_small")
    kept = found[names[1]]
    assert (kept.captions, kept.transcript, kept.transcript_shift_s) == (("a caption",), "/v/b.srt", 0.0)
    assert kept.text_from == (names[0],)


@pytest.mark.parametrize(
    ("of_kept", "of_copy", "shift"),
    [
        ([(0.0, 9.0)], [(0.0, 9.0)], 0.0),
        ([(0.0, 9.0)], [(0.4, 9.4)], 0.0),  # below the distance of sampled frames
        ([(30.0, 39.0)], [(0.0, 9.0)], 30.0),
        ([(0.0, 9.0)], [(5.5, 14.0)], -5.25),
        ([(0.0, 9.0), (20.0, 30.0)], [(10.0, 19.0), (30.0, 40.0)], -10.0),
        ([(0.0, 9.0), (20.0, 30.0)], [(0.0, 9.0), (50.0, 60.0)], None),  # a scene was inserted
        ([(0.0, 96.0)], [(0.0, 100.0)], None),  # another speed
        ([(0.0, 9.0)], [(0.0, 5.0), (6.0, 9.0)], None),
        ([], [], None),  # the pair was inferred
    ],
)
def test_a_transcript_is_shifted_to_the_clock_of_the_kept_video_or_not_used(
    of_kept: list[Any], of_copy: list[Any], shift: float | None
) -> None:
    kept, copy = video("kept.mp4"), video("copy.mp4", **TRANSCRIPT)
    kept_first = kept["content_id"] < copy["content_id"]
    ranges: dict[str, Any] = dict(
        zip(
            ("shared_a", "shared_b"),
            (tuple(of_kept), tuple(of_copy)) if kept_first else (tuple(of_copy), tuple(of_kept)),
            strict=True,
        )
    )
    row, said = adopted(kept, copy, pair(kept, copy, **ranges))
    assert row.transcript_shift_s == shift
    assert row.transcript == (None if shift is None else "/v/b.srt")
    expected = "its transcript is not used: its times do not have a constant shift to those of the kept copy"
    assert said == (expected if shift is None else "")


@pytest.mark.parametrize(("transcript", "shift"), [("/v/b.srt", -2.5), (EMBEDDED, 0.0)])
def test_a_transcript_file_counts_from_the_start_of_the_container_of_its_copy(transcript: str, shift: float) -> None:
    same = {"content_id": "c", "document_id": "d"}
    row, _ = adopted(
        video("a.mp4", start_s=1.0, **same), video("b.mp4", start_s=2.5, transcript=transcript, **same), None
    )
    assert row.transcript_shift_s == shift


def test_the_caption_of_a_part_is_not_that_of_the_whole() -> None:
    whole, part = video("whole.mp4", duration_s=60.0), video("part.mp4", captions=["a caption"])
    row, said = adopted(whole, part, pair(whole, part, of_one=0.2, of_other=1.0))
    assert row.captions == ()
    assert said == "its captions are not used: they describe a part of the kept copy"


@pytest.mark.parametrize(("document_id", "transcript"), [("d", EMBEDDED), ("e", None)])
def test_subtitles_inside_of_a_file_follow_to_the_same_bytes_only(document_id: str, transcript: str | None) -> None:
    kept = video("a.mp4", content_id="c", document_id="d")
    copy = video("b.mp4", content_id="c", document_id=document_id, transcript=EMBEDDED)
    row, said = adopted(kept, copy, None)
    assert row.transcript == transcript
    assert said == ("" if transcript else "its transcript is not used: it is inside of the file")


def test_text_of_a_copy_whose_license_is_not_allowed_is_not_used() -> None:
    same = {"content_id": "c"}
    rows = [video("a.mp4", license="MIT", **same), video("b.mp4", license="GPL", captions=["two"], **same)]
    kept, other = judged(rows, config=select_config(licenses=("MIT",)))
    assert (kept.captions, other.reason) == ((), "license")


def test_books_have_no_captions_to_take_over() -> None:
    same = {"content_id": "c"}
    row, _ = adopted(book("a.txt", **same), book("b.txt", captions=["two"], title="a title", **same), None)
    assert (row.captions, row.title) == ((), "a title")
