"""The steps that clean a book's text, in order.

To add a step, write a module in this folder with a function from text to text and a count, add it to `STEPS`, and add
an option of the same name to `pipeline.text.books.BookConfig`.

Every step is deterministic, can be turned off, and is counted. Cost: the text and its lines in memory, about 10 times
its characters in bytes; 3 million characters per second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.text.cleaning.boilerplate import strip_boilerplate
from pipeline.text.cleaning.hard_wraps import join_lines
from pipeline.text.cleaning.hyphens import join_hyphens
from pipeline.text.cleaning.repair import repair_text
from pipeline.text.cleaning.running_headers import strip_running_headers
from schemas.deadline import checkpoint


@dataclass(frozen=True)
class CleaningStep:
    """One step. `name` is its option; `measure` names the count that `apply` returns with the text."""

    name: str
    measure: str
    apply: Callable[[str], tuple[str, float]]


STEPS = (
    CleaningStep("repair_text", "repaired_lines", repair_text),
    CleaningStep("strip_boilerplate", "boilerplate_share", strip_boilerplate),
    CleaningStep("strip_running_headers", "running_header_lines", strip_running_headers),
    CleaningStep("join_hyphens", "hyphens_joined", join_hyphens),
    CleaningStep("join_lines", "lines_joined", join_lines),
)


def clean(text: str, names: Iterable[str]) -> tuple[str, dict[str, float]]:
    """Return the text after the named steps, in the order of `STEPS`, and the measure of each.

    Lines end in "\\n" in both texts.
    """
    wanted, measures = set(names), {}
    for step in STEPS:
        if step.name in wanted:
            checkpoint()
            text, measures[step.measure] = step.apply(text)
    return text, measures
