"""All cleaning steps together: paragraphs, idempotence, and time."""

from __future__ import annotations

import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.books import BookConfig
from pipeline.text.cleaning.hyphens import join_hyphens
from pipeline.text.cleaning.steps import STEPS, clean
from pipeline.text.personal_data import mask_personal_data
from tests.support.texts import paragraphs, sentences, story, wrapped

ALL = BookConfig().steps
HEADER = """The Project Gutenberg eBook of A Story

This ebook is for the use of anyone anywhere in the United States and
most other parts of the world at no cost and with almost no restrictions
whatsoever.

Title: A Story

Release date: May 1, 1998 [eBook #1]

"""
START = "*** START OF {} PROJECT GUTENBERG EBOOK A STORY ***\n\n"
FOOTER = "\n*** END OF {} PROJECT GUTENBERG EBOOK A STORY ***\n\nSection 1. General Terms of Use\n\nMuch law.\n"


PATHOLOGICAL = [
    "a.",
    "1 ",
    "::",
    "A1 ",
    "a-\n",
    " ",
    "x",
    "\n   x",
    "a   b",
    "-\n",
    "\u00c3\u00a9",
    "(",
    "[transcriber's note ",
]


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30), width=st.sampled_from([0, 45, 60, 72]))
@settings(deadline=None, max_examples=40)
def test_clean_text_is_unchanged_and_wrapped_text_becomes_clean(seed: int, count: int, width: int) -> None:
    text = story(seed, count)
    cleaned, _ = clean(wrapped(text, width) if width and count > 3 else text, ALL)
    assert cleaned == text
    assert clean(cleaned, ALL)[0] == text


def test_paragraphs_of_a_file_without_blank_lines_are_restored() -> None:
    parts = ["THE OLD MILL", "By A. Miller", *paragraphs(6, 40)]
    body = "\n".join(textwrap.fill(part, 72) for part in parts)
    credit = "Produced by A. Reader and the Online Distributed Proofreading Team\n"
    cleaned, _ = clean(
        HEADER.replace("\n\n", "\n") + START.format("THIS").strip() + "\n" + credit + body + FOOTER.format("THIS"), ALL
    )
    found = cleaned.strip().split("\n")
    assert found[:2] == parts[:2]
    assert len(set(parts) & set(found)) > 0.8 * len(parts)  # a full last line of a paragraph cannot be recognized
    assert cleaned.split() == " ".join(parts).split()


@pytest.mark.parametrize("part", PATHOLOGICAL)
def test_no_text_makes_cleaning_slow(part: str) -> None:
    text = "".join(f"{line}\n" for line in sentences(1, 20)) + part * 60_000 + "@b\n"
    began = time.process_time()
    cleaned, _ = clean(text, ALL)
    mask_personal_data(cleaned)
    assert time.process_time() - began < 10  # a quadratic step would take many minutes


def test_steps_run_in_order_and_only_if_named() -> None:
    text = "An exam-\nple of a \u00adsoft hyphen.\n"
    cleaned, measures = clean(text, ["join_hyphens"])
    assert list(measures) == ["hyphens_joined"]
    assert cleaned == join_hyphens(text)[0]
    assert clean(text, []) == (text, {})
    assert list(clean(text, [step.name for step in reversed(STEPS)])[1]) == [step.measure for step in STEPS]
