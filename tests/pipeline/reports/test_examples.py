"""The example items of the report."""

from __future__ import annotations

from pathlib import Path

from pipeline.reports.examples import SHOWN, choose_examples
from pipeline.reports.funnel import Items
from pipeline.reports.page import render
from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.selection import begin_selection
from tests.support.finished_workspace import LOST
from tests.support.survey_rows import video, webp, write_signatures, write_survey


def test_thumbnails_that_are_not_webp_or_too_large_are_not_shown(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=1)
    rows = [video(f"/v/{name}.mp4") for name in ("good", "svg", "huge", "none", "wave")]
    write_survey(workspace, rows)
    good = webp((1, 2, 3))
    huge = good[:12] + bytes(300_000)
    pictures = [good, b"<svg onload='alert(1)'/>", huge, None, b"RIFF0000WAVE"]
    write_signatures(workspace, zip(rows, pictures, strict=True))
    begin_selection(workspace)
    shown = choose_examples(workspace, Items.read(workspace)).kept.cards
    assert shown == ()  # nothing is kept before select
    page = render(workspace)
    assert page.count("data:image/webp") == 0
    select_items(workspace, SelectConfig(), Runner())
    cards = choose_examples(workspace, Items.read(workspace)).kept.cards
    assert {card.name for card in cards if card.thumbnail} == {"good.mp4"}
    assert len(cards) == 5


def test_a_bounded_number_of_examples_is_chosen_deterministically(tmp_path: Path) -> None:
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
    examples = choose_examples(workspace, items)
    assert (len(examples.kept.cards), examples.kept.total) == (SHOWN, 60)
    ((name, total, cards),) = [(s.name, s.total, s.cards) for s in examples.rejected]
    assert (name, total, len(cards)) == ("too_short", 30, SHOWN)
    assert (len(examples.groups), examples.groups_total) == (SHOWN, 20)
    for group in examples.groups:
        first, *others = group.cards
        assert first.decision.startswith("kept, ")
        assert (len(others), group.more) == (5, 3)
        assert {card.reason for card in others} == {"duplicate"}
        assert {card.decision for card in others} == {f"same content as {first.address}"}
    assert all(
        card.thumbnail for card in [*examples.kept.cards, *cards, *(c for g in examples.groups for c in g.cards)]
    )
    assert examples == choose_examples(workspace, Items.read(workspace))


def test_items_rejected_by_tokenize_are_shown_as_rejected(workspace: Workspace) -> None:
    examples = choose_examples(workspace, Items.read(workspace))
    (changed,) = [section for section in examples.rejected if section.name == "changed"]
    assert [(card.reason, card.decision) for card in changed.cards] == [("changed", LOST.facts["detail"])]
    assert "/v/lost.mp4" not in {card.address for card in examples.kept.cards}
