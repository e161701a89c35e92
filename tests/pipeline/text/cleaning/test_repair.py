"""Repair of encoding errors and white space."""

from __future__ import annotations

import time

import pytest

from pipeline.text.cleaning.repair import repair_text


def test_wrongly_decoded_text_is_repaired_and_quotes_are_kept() -> None:
    said = "‘Café’ – “naïve”, said the Brontë. ﬁne\n"
    assert repair_text(said)[0] == said.replace("ﬁ", "fi")
    repaired, changed = repair_text("The caf\u00c3\u00a9 was closed.\nAll is well.\n")
    assert (repaired, changed) == ("The café was closed.\nAll is well.\n", 1)
    assert repair_text("a\u2028b \x07 \t\n\n\n\n\n\nR&amp;D\n\n") == ("a\nb\n\n\nR&D\n", pytest.approx(1, abs=3))
    assert repair_text("<b>R&amp;D</b>\n")[0] == "<b>R&amp;D</b>\n"  # text with tags is markup, whose entities stay


def test_repair_does_not_depend_on_chunk_boundaries() -> None:
    line = "A caf\u00c3\u00a9 in the town, and nothing else.\n"
    assert repair_text(line * 5000)[0] == "A café in the town, and nothing else.\n" * 5000


def test_a_long_run_of_combining_marks_takes_linear_time_and_keeps_32() -> None:
    began = time.monotonic()
    repaired, _ = repair_text("x" + "\u0316\u0301" * 200_000 + " e\u0301\n")
    assert time.monotonic() - began < 20  # normalization alone would take an hour
    assert len(repaired) == len("x" + "\u0316\u0301" * 16 + " \u00e9\n")
    assert repaired.endswith(" \u00e9\n")
