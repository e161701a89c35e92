"""Who goes on and into which split: the rules one by one, clusters, and the job on units written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.workspace import Workspace, read_table_unit, write_table_unit
from pipeline.select import job as select_job
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.keep_best import KeepConfig, clusters
from pipeline.select.rules import Matches, choose_split, judge, judge_cluster
from pipeline.select.selection import begin_selection, finish_selection, read_selection
from schemas.errors import ConfigError, DatasetError, Reason
from schemas.records import SURVEY
from tests.support.golden import check_golden
from tests.support.survey_rows import Row, book, broken, pair, select_config, video, write_survey


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"duration_s": 0.5}, Reason.TOO_SHORT),
        ({"duration_s": 1.0}, None),
        ({"duration_s": 5 * 3600.0}, Reason.TOO_LONG),
        ({"duration_s": None}, None),  # a stream that does not say; decoding will tell
        ({"width": 63}, Reason.TOO_SMALL),
        ({"height": 64}, None),
        ({"measures": {"brightness": 3.0}}, Reason.BLACK),
        ({"kind": "image", "duration_s": 0.0}, None),
        ({"kind": "book", "width": None, "height": None, "measures": None}, None),
        ({"kind": "qa", "width": None, "height": None, "measures": None}, None),
        ({"reason": "crashed", "detail": "signal 11"}, Reason.CRASHED),
    ],
)
def test_each_rule_at_its_border(changes: dict[str, Any], reason: Reason | None) -> None:
    verdict = judge(video(**changes), SelectConfig())
    assert (verdict and verdict[0]) == reason


def judged(rows: list[Row], pairs: list[Row], config: SelectConfig | None = None) -> dict[str, Row]:
    """Judge the rows of one cluster; their judged rows by address."""
    config = config or SelectConfig()
    joined = [Matches.of(pairs, config.keep).join(row) for row in rows]
    found = list(judge_cluster(joined, pairs, config))
    assert sorted(r["uri"] for r in found) == sorted(r["uri"] for r in rows)
    return {row["uri"]: row for row in found}


def test_of_equal_content_the_smallest_address_goes_on() -> None:
    same = {"content_id": "c", "document_id": "d"}
    rows = [video("c.mp4", **same), video("a.mp4", **same), video("b.mp4", content_id="c")]
    found = judged(rows, [])
    assert found["a.mp4"]["reason"] is None
    assert found["b.mp4"]["reason"] == found["c.mp4"]["reason"] == "duplicate"
    assert found["b.mp4"]["detail"] == "same content as a.mp4"
    assert found["c.mp4"]["detail"] == "same bytes as a.mp4"
    assert found["c.mp4"]["keeper"] == "c"


def test_a_row_set_aside_does_not_take_its_twin_with_it() -> None:
    rows = [video("a.mp4", content_id="c", reason="timeout"), video("b.mp4", content_id="c")]
    reasons = {uri: row["reason"] for uri, row in judged(rows, []).items()}
    assert reasons == {"a.mp4": "timeout", "b.mp4": None}


def test_of_near_duplicates_the_better_copy_goes_on_and_the_other_names_it() -> None:
    small, large = video("a.mp4", width=320, height=180), video("b.mp4")
    pairs = [pair(small, large, of_one=0.93, of_other=0.9, similarity=0.97)]
    found = judged([small, large], pairs)
    assert found["b.mp4"]["reason"] is found["b.mp4"]["keeper"] is None
    assert found["a.mp4"]["reason"] == "near_duplicate"
    assert found["a.mp4"]["detail"] == "b.mp4 has 93% of it, 97% alike"
    assert found["a.mp4"]["keeper"] == large["content_id"]


@pytest.mark.parametrize(
    ("keep", "reasons"),
    [
        ({"prefer": ("length",)}, {"a.mp4": None, "b.mp4": "near_duplicate"}),  # equal length: the address decides
        ({"min_containment": 0.91}, {"a.mp4": None, "b.mp4": None}),
        ({"min_similarity": 0.96}, {"a.mp4": None, "b.mp4": None}),
        ({"remove_near_duplicates": False}, {"a.mp4": None, "b.mp4": None}),
        ({}, {"a.mp4": "near_duplicate", "b.mp4": None}),
    ],
)
def test_what_a_near_duplicate_is_and_which_is_better_are_options(
    keep: dict[str, Any], reasons: dict[str, str | None]
) -> None:
    small, large = video("a.mp4", width=320, height=180), video("b.mp4")
    found = judged([small, large], [pair(small, large)], SelectConfig(keep=KeepConfig(**keep)))
    assert {uri: row["reason"] for uri, row in found.items()} == reasons
    assert "min_similarity" in keep or found["a.mp4"]["cluster"] == found["b.mp4"]["cluster"]


def test_a_part_gives_way_to_the_whole_however_good_it_is() -> None:
    part, whole = video("part.mp4", width=1920, height=1080), video("whole.mp4", duration_s=60.0)
    found = judged([part, whole], [pair(part, whole, of_one=1.0, of_other=0.2)])
    assert {uri: row["reason"] for uri, row in found.items()} == {"part.mp4": "near_duplicate", "whole.mp4": None}


def test_the_keeper_named_is_one_that_goes_on_also_for_a_copy_of_what_gave_way() -> None:
    large, small = video("large.mp4"), video("small.mp4", width=320, height=180)
    twin = video("twin.mp4", width=320, height=180, content_id=small["content_id"])
    found = judged([large, small, twin], [pair(large, small)])
    assert found["twin.mp4"]["reason"] == "duplicate"
    assert found["twin.mp4"]["detail"] == "same content as small.mp4"
    assert found["twin.mp4"]["keeper"] == found["small.mp4"]["keeper"] == large["content_id"]


def test_what_is_set_aside_by_itself_takes_no_copy_with_it() -> None:
    dark, good = video("dark.mp4", width=1280, height=720, measures={"brightness": 1.0}), video("good.mp4")
    found = judged([dark, good], [pair(dark, good)])
    assert {uri: row["reason"] for uri, row in found.items()} == {"dark.mp4": "black", "good.mp4": None}


def test_of_a_kept_book_the_passages_that_a_better_one_has_too_are_cut() -> None:
    header = {"start": 0, "end": 40, "reason": "boilerplate", "detail": "a header"}
    long = book("long.txt", measures={"characters": 90_000.0})
    short = book("short.txt", measures={"characters": 60_000.0}, cuts=[header])
    shared = pair(long, short, of_one=0.1, of_other=0.2)
    name = "shared_a" if shared["a"] == short["content_id"] else "shared_b"
    shared[name] = [{"start": 100.0, "end": 900.0}, {"start": 900.0, "end": 1000.0}, {"start": 5000.0, "end": 6000.0}]
    found = judged([long, short], [shared])
    by = f"{long['content_id']} has this passage too"
    assert [row["reason"] for row in found.values()] == [None, None]
    assert found["long.txt"]["cuts"] is None
    assert found["short.txt"]["cuts"] == [
        header,
        {"start": 100, "end": 1000, "reason": "near_duplicate", "detail": by},
        {"start": 5000, "end": 6000, "reason": "near_duplicate", "detail": by},
    ]
    assert judged([long, short], [shared], SelectConfig(keep=KeepConfig(remove_near_duplicates=False)))["short.txt"][
        "cuts"
    ] == [header]
    alone = judged([long | {"license": "x"}, short | {"license": "y"}], [shared], select_config(licenses=("y",)))
    assert alone["short.txt"]["cuts"] == [header]  # what does not go on has no passage to give


@given(st.lists(st.text(min_size=1, max_size=8), min_size=200, max_size=200, unique=True), st.integers(0, 3))
@settings(deadline=None, max_examples=5)
def test_the_held_out_share_is_about_what_was_asked_and_stays(names: list[str], seed: int) -> None:
    config = SelectConfig(val_fraction=0.3, split_seed=seed)
    splits = [choose_split(video(cluster=name), config) for name in names]
    assert 25 <= splits.count("val") <= 100  # 60 expected; both borders are 5 standard deviations away
    assert splits == [choose_split(video(cluster=name), config) for name in names]


def test_the_manifests_split_wins() -> None:
    assert choose_split(video(split="val"), SelectConfig(val_fraction=0)) == "val"
    assert choose_split(video(split="train"), SelectConfig(val_fraction=0.999), ["val", "train"]) == "train"


links = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.sampled_from([0.1, 0.85, 1.0])), max_size=14)
named = st.lists(st.sampled_from([None, None, None, "train", "val"]), min_size=12, max_size=12)


@given(links, named, st.integers(0, 5), st.booleans())
@settings(deadline=None, max_examples=80)
def test_items_that_share_content_never_straddle_the_splits_unless_the_manifest_says_so(
    links: list[tuple[int, int, float]], named: list[str | None], seed: int, near: bool
) -> None:
    rows = [video(f"{n}.mp4", split=split, content_id=f"c{n // 2 if n < 4 else n}") for n, split in enumerate(named)]
    pairs = [pair(rows[a], rows[b], of_one=share) for a, b, share in links if rows[a] != rows[b]]
    pairs = [p for p in pairs if p["a"] != p["b"]]
    config = SelectConfig(val_fraction=0.5, split_seed=seed, keep=KeepConfig(remove_near_duplicates=near))
    matches = Matches.of(pairs, config.keep)
    groups: dict[str, list[Row]] = {}
    for row in map(matches.join, rows):
        groups.setdefault(row["cluster"], []).append(row)
    for cluster, members in groups.items():
        found = list(judge_cluster(members, matches.pairs.get(cluster, ()), config))
        assert sorted(row["uri"] for row in found) == sorted(row["uri"] for row in members)
        kept = {row["content_id"]: row["split"] for row in found if not row["reason"]}
        given = {row["split"] for row in members if row["split"]}
        assert kept
        assert len(set(kept.values())) == 1 or len(given) == 2
        assert not given or set(kept.values()) <= given
        assert all(row["keeper"] in kept for row in found if row["reason"])


@given(links)
def test_a_cluster_is_all_that_hangs_together_and_named_after_its_smallest(links: list[tuple[int, int, float]]) -> None:
    names = [f"c{n:02d}" for n in range(12)]
    found = clusters([{"a": names[a], "b": names[b]} for a, b, _ in links])
    reach = {name: {name} for name in names}
    for _ in names:
        for a, b, _ in links:
            reach[names[a]] = reach[names[b]] = reach[names[a]] | reach[names[b]]
    assert found == {name: min(reach[name]) for name in found}
    assert set(found) == {names[n] for a, b, _ in links for n in (a, b)}


# The job, through Beam, on units and a table of pairs that were written by hand.

LARGE, SMALL = video("/v/large.mp4", license="MIT"), video("/v/small.mp4", width=320, height=180, license="MIT")
LONG, SHORT = book("/b/long.txt", measures={"characters": 90_000.0}), book("/b/short.txt")
ROWS = [
    LARGE,
    SMALL,
    video("/v/copy.mp4", content_id=LARGE["content_id"], document_id=LARGE["document_id"]),
    video("/v/brief.mp4", duration_s=0.2),
    broken("/v/gone.mp4", "missing", "no file"),
    LONG,
    SHORT,
]
PAIRS_FOUND = [pair(LARGE, SMALL), pair(LONG, SHORT, of_one=0.1, of_other=0.1)]


def surveyed(root: Path, pairs: list[Row] = PAIRS_FOUND, rows: list[Row] = ROWS) -> Workspace:
    workspace = Workspace.open(root, units=3)
    write_survey(workspace, rows, pairs)
    return workspace


def select(workspace: Workspace, *limits: str, **options: Any) -> JobReport:
    return select_items(workspace, select_config(*limits, **options), Runner())


def test_the_job_judges_every_row_by_itself_and_in_its_cluster(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    report = select(workspace, val_fraction=0.5)
    assert (report.items, report.kept, report.new) == (7, 3, 7)
    assert report.rejected == {"duplicate": 1, "near_duplicate": 1, "too_short": 1, "missing": 1}
    config, rows = read_selection(workspace)[1:]
    assert config == SelectConfig(val_fraction=0.5)
    found = {row["uri"]: row for row in rows.to_pylist(maps_as_pydicts="strict")}
    assert found["/v/small.mp4"]["keeper"] == LARGE["content_id"]
    assert found["/v/small.mp4"]["cluster"] == found["/v/large.mp4"]["cluster"] == found["/v/copy.mp4"]["cluster"]
    assert found["/b/long.txt"]["split"] == found["/b/short.txt"]["split"]
    assert found["/b/short.txt"]["cuts"] == [
        {"start": 0, "end": 9, "reason": "near_duplicate", "detail": f"{LONG['content_id']} has this passage too"}
    ]
    assert found["/v/large.mp4"]["measures"] == {"brightness": 90.0}
    assert found["/v/gone.mp4"]["cluster"] == "/v/gone.mp4"
    for unit in range(3):
        mine = read_table_unit(workspace.selection, unit, SURVEY)
        assert all(workspace.unit_of(r["document_id"] or r["uri"]) == unit for r in mine.to_pylist())


def test_it_is_done_again_when_options_or_pairs_change_and_only_then(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    assert [select(workspace).new, select(workspace).new] == [7, 0]
    assert select(workspace, keep=KeepConfig(min_containment=0.95)).kept == 4
    write_survey(workspace, ROWS, PAIRS_FOUND[1:])
    assert (report := select(workspace)).new == 7
    assert report.kept == 4
    workspace.pairs.unlink()
    assert select(workspace).new == 7


def test_a_selection_that_was_cut_off_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    select(workspace)
    before = {path: path.read_bytes() for path in workspace.selection.iterdir()}
    begin_selection(workspace)  # a job with other options starts, writes all its units, and is killed
    for path, content in before.items():
        if path.suffix == ".parquet":
            path.write_bytes(content)
    with pytest.raises(DatasetError, match="not finished"):
        read_selection(workspace)
    assert select(workspace).new == 7
    assert {path: path.read_bytes() for path in workspace.selection.iterdir()} == before


def test_a_split_that_the_manifest_gives_to_one_holds_for_all_that_share_content(tmp_path: Path) -> None:
    rows = [LARGE, SMALL | {"split": "val"}, LONG | {"split": "val"}, SHORT | {"split": "train"}]
    report = select(surveyed(tmp_path / "out", rows=rows), val_fraction=0.0)
    assert report.facts == {"in train": 1, "in val": 2}
    assert report.notes == ("2 items share content across the splits, as the manifest puts them there",)


def test_a_limit_on_a_number_that_no_item_has_is_refused(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    with pytest.raises(ConfigError, match="did you mean 'characters'"):
        select(workspace, "charakters=5:")
    assert select(workspace, "characters=70000:").rejected["score"] == 1


def test_a_mark_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    select(workspace)
    (workspace.selection / "selection.json").write_text('{"fingerprint": "x", "items": 7, "config": {"keep": 3}}')
    with pytest.raises(DatasetError, match="run `longreel select` again"):
        read_selection(workspace)
    write_table_unit(workspace.selection, 0, SURVEY.empty_table())
    finish_selection(workspace, SelectConfig(), fingerprint="x", items=7)
    with pytest.raises(DatasetError, match="of 7 rows"):
        read_selection(workspace)


def test_the_selection_changes_only_with_the_version(tmp_path: Path) -> None:
    workspace = surveyed(tmp_path / "out")
    select(workspace, val_fraction=0.5)
    rows = read_selection(workspace).rows.sort_by("uri").to_pylist(maps_as_pydicts="strict")
    check_golden("selection", select_job.VERSION, [{k: v for k, v in row.items() if v is not None} for row in rows])
