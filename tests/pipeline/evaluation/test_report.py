"""The page of an evaluation."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from pipeline.evaluation.report import score_picture, write_report
from pipeline.evaluation.sample import Result
from pipeline.evaluation.summary import summarize


def summary(depths: tuple[float | None, ...], length: int | None = 100, model: str = "m") -> dict[str, object]:
    found = [
        Result(id=f"{task}{n}", task=task, score=1.0, reply="", references=("x",), length=length, depth=depth)
        for task in ("one", "two")
        for n, depth in enumerate(depths)
    ]
    return {"suite": "needle", "model": model, "options": {"seed": 1}, **summarize(found)}


def test_the_page_is_complete_and_escapes_names_from_data(tmp_path: Path) -> None:
    write_report(tmp_path, summary((0.0, 1.0), model="<script>alert(1)</script>\x1b[2J"))
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page
    assert "\x1b" not in page
    assert "100.0 %" in page
    assert page.count("<tr>") == 2 + 2 + 4 + 1
    HTMLParser().feed(page)
    with Image.open(tmp_path / "scores.png") as picture:
        assert picture.width > 100


def test_tasks_with_depths_are_below_each_other_and_others_in_one_table() -> None:
    deep, flat = score_picture(summary((0.0, 0.5, 1.0))), score_picture(summary((None, None)))
    assert deep is not None
    assert flat is not None
    assert deep.height > flat.height


def test_samples_without_lengths_have_no_picture(tmp_path: Path) -> None:
    write_report(tmp_path, summary((None,), length=None))
    assert not (tmp_path / "scores.png").exists()
    assert "<img" not in (tmp_path / "report.html").read_text()
