"""What the report's page is made of: the items, the funnel, the histograms, the chosen ones."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import longreel
from pipeline.filters.limit import Limit
from pipeline.filters.limit_table import DEFAULTS
from pipeline.filters.numbers import numbers
from pipeline.reports.dry_run import verdicts
from pipeline.reports.examples import SHOWN, choose_samples
from pipeline.reports.funnel import Items, Step
from pipeline.reports.histograms import HEIGHT, WIDTH, histogram, measured_columns
from pipeline.reports.page import render
from pipeline.reports.tables import cut_characters, duration, with_amounts
from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.selection import begin_selection
from schemas.errors import DatasetError, Reason
from schemas.records import SURVEY
from tests.support.curated import CLIP, LOST, ROWS, write_clips, write_curated
from tests.support.surveys import Row, book, broken, select_config, video, webp, write_signatures, write_survey


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return write_curated(tmp_path_factory.mktemp("page") / "out", select_config("sharpness=1:"))


@pytest.fixture
def mine(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the workspace that may be changed."""
    return Workspace(Path(shutil.copytree(workspace.root, tmp_path / "out")), workspace.units)


def steps(workspace: Workspace) -> dict[str, Step]:
    found = {step.name: step for step in Items.read(workspace).steps()}
    assert all(step.came == step.on + step.set_aside + step.waiting for step in found.values())
    return found


def test_the_funnel_is_balanced_and_each_step_takes_what_the_one_before_lets_on(workspace: Workspace) -> None:
    found = list(steps(workspace).values())
    assert [step.name for step in found] == ["survey", "select", "tokenize", "pack 64"]
    assert [step.came for step in found] == [len(ROWS), *(step.on for step in found[:-1])]
    assert [step.aside for step in found] == [
        {"missing": 1, "unreadable": 1},
        {"near_duplicate": 2, "black": 1, "duplicate": 1, "too_short": 1},
        {"changed": 1},
        {},
    ]


def test_the_page_comes_at_every_stage_and_says_what_is_still_to_do(mine: Workspace) -> None:
    (mine.root / "packed" / "64" / "dataset.json").unlink()
    assert list(steps(mine)) == ["survey", "select", "tokenize"]
    assert "unfinished: 64" in render(mine)
    shutil.rmtree(mine.tokens)
    assert steps(mine)["tokenize"].waiting == 4
    begin_selection(mine)
    assert steps(mine)["select"].waiting == 9
    assert "no finished selection yet" in render(mine)
    shutil.rmtree(mine.signatures)
    assert "<img" not in render(mine)
    (mine.survey / "unit-00000.parquet").unlink()
    left = steps(mine)["survey"]
    assert left.waiting == len(ROWS) - left.on - left.set_aside > 0
    shutil.rmtree(mine.survey)
    assert steps(mine)["survey"].waiting == len(ROWS)
    assert "What became of 11 listed items" in render(mine)
    mine.manifest.unlink()
    assert "What became of 0 listed items" in render(mine)


def test_what_select_has_not_judged_yet_waits(mine: Workspace) -> None:
    rows = [*ROWS.values(), video("/v/new.mp4"), broken("/v/newly-broken.mp4", "timeout", "after 60 s")]
    write_survey(mine, rows, [])
    found = steps(mine)
    assert (found["survey"].came, found["survey"].set_aside) == (13, 3)
    assert (found["select"].came, found["select"].waiting) == (10, 1)
    assert "/v/newly-broken.mp4" in render(mine)


def test_a_dataset_of_another_state_says_so(mine: Workspace) -> None:
    assert longreel.main(["forget", str(mine.packed(64)), CLIP.id]) == 0
    assert steps(mine)["pack 64"].aside == {"forgotten": 1}
    rows = [row for row in ROWS.values() if row["uri"] != "/v/film.mp4"]
    write_survey(mine, rows, [])
    step = steps(mine)["pack 64"]
    assert (step.came, step.on, step.note) == (2, 1, "it also holds 1 documents that are no longer selected")


def test_a_video_in_clips_is_one_item_and_several_documents(mine: Workspace) -> None:
    write_clips(mine)
    step = steps(mine)["tokenize"]
    assert (step.came, step.on, step.set_aside, step.note) == (4, 3, 1, "as 4 documents, one a clip")
    packed = steps(mine)["pack 64"]
    assert (packed.came, packed.on, packed.aside) == (4, 2, {"not packed": 2})
    kinds = dict(Items.read(mine).kinds())
    assert kinds["video"] == [9, 7, 3, 2]


cuts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=5)


@given(st.lists(st.one_of(st.none(), cuts), max_size=6))
@settings(deadline=None, max_examples=60)
def test_what_cuts_take_away_is_counted_once_and_as_in_a_dry_run(rows: list[list[tuple[int, int]] | None]) -> None:
    def spans(row: list[tuple[int, int]]) -> list[Row]:
        return [{"start": s, "end": s + n, "reason": "quality", "detail": None} for s, n in sorted(row)]

    books = [book(f"/b/{n}", cuts=None if row is None else spans(row)) for n, row in enumerate(rows)]
    expected = [len({at for s, n in row or () for at in range(s, s + n)}) for row in rows]
    table = pa.Table.from_pylist(books, SURVEY)
    assert list(cut_characters(table["cuts"])) == expected
    assert with_amounts(table)["words"].to_pylist() == pytest.approx(verdicts(books)["words"].to_pylist())


def test_the_same_workspace_gives_the_same_bytes_wherever_it_lies(workspace: Workspace, mine: Workspace) -> None:
    first = render(workspace)
    assert first == render(workspace)
    assert first == render(mine)  # whose folder has another parent and the same name
    assert longreel.main(["report", str(mine.root)]) == 0
    assert (mine.root / "report.html").read_text(encoding="utf-8") == first
    assert longreel.main(["report", str(mine.root)]) == 0  # the page itself is no part of what it tells
    assert (mine.root / "report.html").read_text(encoding="utf-8") == first


def test_limits_are_those_that_select_was_run_with(workspace: Workspace) -> None:
    page = render(workspace)
    assert "<code>--limit sharpness=1:</code>" in page
    assert "1 below 1 (blurred)" in page


def test_nothing_on_the_page_leads_outside_and_text_from_data_is_escaped(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    nasty = '"><img src=x onerror=alert(1)>\x00\x1b[31m\u202etxt'
    rows = [
        video(f"/v/{nasty}.mp4", title=nasty, license=nasty, source=nasty, measures={f"m{nasty}": 1.0}),
        broken("/v/b.mp4", "unreadable", nasty),
    ]
    write_survey(workspace, rows)
    page = render(workspace)
    assert "<img" not in page
    assert "onerror" in page
    assert not {"\x00", "\x1b", "\u202e"} & set(page)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_what_is_no_webp_or_too_large_is_not_shown(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    rows = [video(f"/v/{name}.mp4") for name in ("good", "svg", "huge", "none", "wave")]
    write_survey(workspace, rows)
    good = webp((1, 2, 3))
    huge = good[:12] + bytes(300_000)
    pictures = [good, b"<svg onload='alert(1)'/>", huge, None, b"RIFF0000WAVE"]
    write_signatures(workspace, zip(rows, pictures, strict=True))
    begin_selection(workspace)
    shown = choose_samples(workspace, Items.read(workspace)).kept.cards
    assert shown == ()  # nothing is kept before select
    page = render(workspace)
    assert page.count("data:image/webp") == 0
    select_items(workspace, SelectConfig(), Runner())
    cards = choose_samples(workspace, Items.read(workspace)).kept.cards
    assert {card.name for card in cards if card.picture} == {"good.mp4"}
    assert len(cards) == 5


def test_a_damaged_or_foreign_table_is_told(mine: Workspace) -> None:
    path = next(mine.signatures.glob("*.parquet"))
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(DatasetError, match="cannot be read"):
        render(mine)
    pq.write_table(pa.table({"content_id": ["x"]}), path)
    with pytest.raises(DatasetError, match="another version"):
        render(mine)
    path.unlink()
    render(mine)
    next(mine.survey.glob("*.parquet")).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="cannot be read"):
        render(mine)


def test_a_bounded_number_is_shown_and_chosen_the_same_way_every_time(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=4)
    kept = [video(f"/v/{n:03d}.mp4") for n in range(60)]
    short = [video(f"/s/{n:03d}.mp4", duration_s=0.1) for n in range(30)]
    copies = [
        video(f"/c/{n:03d}.mp4", content_id=kept[n % 20]["content_id"], document_id=f"{n}", width=64, height=64)
        for n in range(160)
    ]
    rows = [*kept, *short, *copies]
    write_survey(workspace, rows)
    write_signatures(workspace, [(row, webp((n % 256, 9, 9))) for n, row in enumerate(rows)])
    select_items(workspace, SelectConfig(), Runner())
    items = Items.read(workspace)
    samples = choose_samples(workspace, items)
    assert (len(samples.kept.cards), samples.kept.total) == (SHOWN, 60)
    ((name, total, cards),) = [(s.name, s.total, s.cards) for s in samples.rejected]
    assert (name, total, len(cards)) == ("too_short", 30, SHOWN)
    assert (len(samples.groups), samples.groups_total) == (SHOWN, 20)
    for group in samples.groups:
        first, *others = group.cards
        assert first.words.startswith("kept, ")
        assert (len(others), group.more) == (5, 3)
        assert {card.words for card in others} == {f"duplicate: same content as {first.address}"}
    assert all(card.picture for card in [*samples.kept.cards, *cards, *(c for g in samples.groups for c in g.cards)])
    assert samples == choose_samples(workspace, Items.read(workspace))


def test_what_tokenizing_set_aside_is_shown_with_its_reason_and_not_as_kept(workspace: Workspace) -> None:
    samples = choose_samples(workspace, Items.read(workspace))
    (changed,) = [section for section in samples.rejected if section.name == "changed"]
    assert [card.words for card in changed.cards] == [f"changed: {LOST.facts['detail']}"]
    assert "/v/lost.mp4" not in {card.address for card in samples.kept.cards}


measure = st.dictionaries(
    st.sampled_from(["brightness", "motion", "words", "x"]),
    st.one_of(st.none(), st.floats(allow_nan=False, width=32)),
    max_size=4,
)
surveyed = st.builds(
    lambda measures, kind, seconds, size: {
        "measures": measures,
        "kind": kind,
        "duration_s": seconds,
        "width": size,
        "height": size and size + 1,
    },
    st.one_of(st.none(), measure),
    st.sampled_from(["video", "image", "book"]),
    st.one_of(st.none(), st.floats(0, 1e6)),
    st.one_of(st.none(), st.integers(0, 4000)),
)


@given(st.lists(surveyed, max_size=12), st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_numbers_by_columns_are_the_numbers_row_by_row(rows: list[dict[str, Any]], skip: int, chunk: int) -> None:
    full: list[Row] = [video() | row for row in rows]
    whole = pa.Table.from_pylist(full, SURVEY)
    table = pa.concat_tables([whole.slice(skip, chunk), whole.slice(min(skip + chunk, len(whole)))])
    expected: dict[str, list[float]] = {}
    for row in full[skip:]:
        for name, number in numbers(row).items():
            expected.setdefault(name, []).append(number)
    found = {name: list(values) for name, values in measured_columns(table).items()}
    assert found == expected


@given(
    st.lists(st.one_of(st.floats(), st.floats(0, 1), st.floats(0.1, 1e5)), min_size=1, max_size=60),
    st.one_of(st.just(-np.inf), st.floats(-100, 100)),
    st.one_of(st.just(np.inf), st.floats(100, 1e6)),
    st.sampled_from(["x", "x_share"]),
)
@settings(deadline=None, max_examples=150)
def test_a_histogram_counts_every_number_once_and_within_its_picture(
    values: list[float], low: float, high: float, name: str
) -> None:
    limit = Limit(name, low, high, Reason.TOO_SHORT, Reason.TOO_LONG)
    data = np.array(values)
    found = histogram(data, limit)
    counted: Counter[str] = Counter()
    for bar in found.bars:
        for part in bar.label.rsplit(": ", 1)[1].split(", "):
            number, word = part.split()
            counted[word] += int(number)
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert 0 <= bar.outside_y <= bar.within_y <= HEIGHT
    finite = data[np.abs(data) < 1e300]
    inside = int(((finite >= low) & (finite <= high)).sum())
    assert (counted["within"], counted["outside"]) == (inside, len(finite) - inside)
    by_reason = {words.split()[0]: n for n, words, _ in found.outside}
    assert by_reason.get("below", 0) == (int((data < low).sum()) if np.isfinite(low) else 0)
    assert by_reason.get("above", 0) == (int((data > high).sum()) if np.isfinite(high) else 0)
    assert by_reason.get("no", 0) == int(np.isnan(data).sum())
    assert all(0 <= x <= WIDTH for x, _ in (*found.ticks, *found.bounds))


def test_a_wide_spread_is_drawn_on_a_logarithmic_axis_with_its_limits() -> None:
    found = histogram(np.array([2.0, 30.0, 4000.0]), DEFAULTS["duration_s"])
    assert found.is_log
    assert [text for _, text in found.bounds] == ["min 1", "max 14,400"]
    assert [text for _, text in found.ticks] == ["1", "10", "100", "1,000", "10,000"]
    narrow = histogram(np.array([1.5, 90.0]), Limit("x"))
    assert [text for _, text in narrow.ticks] == ["2", "5", "10", "20", "50"]
    linear = histogram(np.array([10.0, 20.0, 30.0]), DEFAULTS["duration_s"])
    assert not linear.is_log
    assert linear.bounds[0][1] == "min 1"  # the other is far beyond
    assert len(linear.bounds) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "1 min 0 s"), (3725, "1 h 2 min"), (4e6, "1,111 h 6 min")]
)
def test_a_time_is_told_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_report_of_what_is_no_workspace_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["report", str(tmp_path)]) == 1
    assert "not a Longreel workspace" in capsys.readouterr().err
