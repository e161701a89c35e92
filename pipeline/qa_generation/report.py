"""The page that shows what was kept and what was rejected, with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.qa_generation.pairs import Pair
from pipeline.reports.template import load_template
from schemas.files import write_text

PAGE = "report.html"
_TEMPLATE = Path(__file__).with_name("templates") / PAGE
_SHOWN = 50  # of the kept pairs


def write_report(out: Path, summary: Mapping[str, Any], pairs: Sequence[Pair]) -> None:
    """Write the page."""
    examples = {pair.rejection.value: pair for pair in reversed(pairs) if pair.rejection is not None}
    kept = [pair for pair in pairs if pair.rejection is None]
    chosen = kept[:: max(1, len(kept) // _SHOWN)][:_SHOWN]
    write_text(out / PAGE, load_template(_TEMPLATE).render(summary=summary, examples=examples, kept=chosen))
