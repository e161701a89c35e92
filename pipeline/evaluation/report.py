"""The pages of an evaluation: a table, and scores by length and depth as a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.evaluation.heat_map import heat_map
from pipeline.reports.template import load_template
from schemas.files import write_text
from schemas.storage.location import located

PAGE, PICTURE = "report.html", "scores.png"
_TEMPLATE = Path(__file__).with_name("templates") / "report.html"


def write_report(out: Path, summary: Mapping[str, Any]) -> None:
    """Write the page, and the picture if the samples differ in length."""
    picture, encoded = score_picture(summary), None
    if picture is not None:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        located(out / PICTURE).write(buffer.getvalue())
        encoded = base64.b64encode(buffer.getvalue()).decode()
    page = load_template(_TEMPLATE).render(summary=summary, picture=encoded, alt=_alt(summary))
    write_text(out / PAGE, page)


def score_picture(summary: Mapping[str, Any]) -> Image.Image | None:
    """Return the scores by length and depth, or by task and length; None for samples without lengths.

    Several tasks with depths are below each other.
    """
    cells = [cell for cell in summary["cells"] if cell["length"] is not None]
    if not cells:
        return None
    lengths = sorted({cell["length"] for cell in cells})
    columns = [f"{length:,}" for length in lengths]
    if all(cell["depth"] is None for cell in cells):
        tasks = list(dict.fromkeys(cell["task"] for cell in cells))
        scores = [[_score(cells, task, length, None) for length in lengths] for task in tasks]
        return heat_map(_title(summary), tasks, columns, scores, axes="columns: context length in tokens; rows: tasks")
    return _stacked(list(_by_depth(summary, cells, lengths, columns)))


def _by_depth(
    summary: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], lengths: Sequence[int], columns: Sequence[str]
) -> Iterator[Image.Image]:
    for task in dict.fromkeys(cell["task"] for cell in cells):
        depths = sorted({cell["depth"] for cell in cells if cell["task"] == task})
        scores = [[_score(cells, task, length, depth) for length in lengths] for depth in depths]
        rows = [f"{100 * depth:.0f} %" for depth in depths]
        axes = "columns: context length in tokens; rows: depth of the asked text"
        yield heat_map(f"{task}: {summary['model']}", rows, columns, scores, axes=axes)


def _stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)), "white")
    top = 0
    for one in pictures:
        whole.paste(one, (0, top))
        top += one.height
    return whole


def _score(cells: Sequence[Mapping[str, Any]], task: str, length: int, depth: float | None) -> float | None:
    wanted = (task, length, depth)
    return next((cell["score"] for cell in cells if (cell["task"], cell["length"], cell["depth"]) == wanted), None)


def _title(summary: Mapping[str, Any]) -> str:
    return f"{summary['suite']}: {summary['model']}"


def _alt(summary: Mapping[str, Any]) -> str:
    return f"Scores of {summary['model']} by context length; the table below has the same figures"
