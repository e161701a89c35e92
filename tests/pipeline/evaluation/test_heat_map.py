"""Pictures of scores: the color of a cell is that of its score."""

from __future__ import annotations

import pytest

from pipeline.evaluation.heat_map import heat_map, score_color


def test_cells_have_the_color_of_their_score() -> None:
    image = heat_map("needle", ["0 %", "100 %"], ["1,024", "2,048"], [[0.0, 1.0], [None, 0.5]], axes="rows: depth")
    colors = {color for _, color in image.getcolors(10**6) or []}
    assert {score_color(0.0), score_color(1.0), score_color(0.5), (230, 230, 230)} <= colors
    wide = heat_map("a long title that is wider than the one column", ["x"], ["1"], [[0.2]], axes="")
    assert wide.width > 250


def test_colors_become_lighter_with_the_score() -> None:
    lightness = [sum(score_color(value / 20)) for value in range(21)]
    assert lightness == sorted(lightness)
    assert score_color(-1) == score_color(0)
    assert score_color(2) == score_color(1)


@pytest.mark.parametrize("rows", [[], ["one"]])
def test_a_table_may_be_small(rows: list[str]) -> None:
    assert heat_map("t", rows, ["1"], [[None]] * len(rows), axes="").height > 0
