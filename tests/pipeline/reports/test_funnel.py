"""The funnel: what each job received, kept and rejected."""

from __future__ import annotations

from pipeline.dataset.removal.remove import remove_items
from pipeline.reports.funnel import Items, Step
from pipeline.reports.page import render
from pipeline.runtime.workspace import Workspace
from tests.support.finished_workspace import CLIP, ROWS, write_clips
from tests.support.survey_rows import broken, video, write_survey


def steps(workspace: Workspace) -> dict[str, Step]:
    found = {step.name: step for step in Items.read(workspace).steps()}
    assert all(step.items_in == step.kept + step.rejected_total + step.pending for step in found.values())
    return found


def test_the_funnel_balances_and_each_step_receives_what_the_previous_kept(workspace: Workspace) -> None:
    found = list(steps(workspace).values())
    assert [step.name for step in found] == ["survey", "select", "tokenize", "pack 64"]
    assert [step.items_in for step in found] == [len(ROWS), *(step.kept for step in found[:-1])]
    assert [step.rejected for step in found] == [
        {"missing": 1, "unreadable": 1},
        {"near_duplicate": 2, "black": 1, "duplicate": 1, "too_short": 1},
        {"changed": 1},
        {},
    ]


def test_items_not_yet_judged_by_select_are_pending(mine: Workspace) -> None:
    rows = [*ROWS.values(), video("/v/new.mp4"), broken("/v/newly-broken.mp4", "timeout", "after 60 s")]
    write_survey(mine, rows, [])
    found = steps(mine)
    assert (found["survey"].items_in, found["survey"].rejected_total) == (13, 3)
    assert (found["select"].items_in, found["select"].pending) == (10, 1)
    assert "/v/newly-broken.mp4" in render(mine)


def test_a_dataset_packed_from_an_earlier_selection_is_noted(mine: Workspace) -> None:
    remove_items(mine.packed(64).local(), [CLIP.id])
    assert steps(mine)["pack 64"].rejected == {"taken down": 1}
    rows = [row for row in ROWS.values() if row["uri"] != "/v/film.mp4"]
    write_survey(mine, rows, [])
    step = steps(mine)["pack 64"]
    assert (step.items_in, step.kept, step.note) == (2, 1, "also contains 1 document no longer selected")


def test_a_video_stored_as_clips_is_one_item_and_several_documents(mine: Workspace) -> None:
    write_clips(mine)
    step = steps(mine)["tokenize"]
    assert (step.items_in, step.kept, step.rejected_total, step.note) == (4, 3, 1, "as 4 documents, one per clip")
    packed = steps(mine)["pack 64"]
    assert (packed.items_in, packed.kept, packed.rejected) == (4, 2, {"not packed": 2})
    kinds = dict(Items.read(mine).kinds())
    assert kinds["video"] == [9, 7, 3, 2]
