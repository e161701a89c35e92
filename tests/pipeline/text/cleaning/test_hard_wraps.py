"""Hard-wrapped prose, and text whose lines are kept."""

from __future__ import annotations

import random
import textwrap

from pipeline.text.cleaning.hard_wraps import join_lines
from tests.support.texts import paragraphs, sentences, wrapped

VERSE = """The curfew tolls the knell of parting day,
The lowing herd winds slowly o'er the lea,
The ploughman homeward plods his weary way,
And leaves the world to darkness and to me."""


def test_verse_lists_and_tables_keep_their_lines() -> None:
    items = "\n".join(f"{n}. {line[:40]}" for n, line in enumerate(sentences(1, 5), 1))
    table = "\n".join(f"{n:<10}{n * n:>20}{n**3:>20}" for n in range(10, 16))
    letter = "14 Market Street,\nLeith,\nMay 3rd.\n\nDear Sir,"
    quoted = textwrap.indent(textwrap.fill(paragraphs(8, 1)[0], 60), "    ")
    blocks = [VERSE, items, table, letter, quoted, "CHAPTER II\nThe Mill"]
    text = wrapped("\n\n".join(paragraphs(2, 10)))
    mixed = "\n\n".join([text.strip(), *blocks, text.strip()]) + "\n"
    joined, count = join_lines(mixed)
    assert joined == "\n\n".join([*paragraphs(2, 10), *blocks, *paragraphs(2, 10)]) + "\n"
    assert count > 40
    assert join_lines(joined) == (joined, 0.0)
    poem = "\n\n".join([VERSE] * 8) + "\n"
    assert join_lines(poem) == (poem, 0.0)
    verses = "\n".join(sentences(3, 60)) + "\n"  # one sentence per line is not wrapping
    assert join_lines(verses) == (verses, 0.0)


def test_indented_paragraphs_without_blank_lines_are_separated() -> None:
    parts = paragraphs(5, 12)
    text = "\n".join(textwrap.fill(part, 64, initial_indent="  ") for part in parts) + "\n"
    assert [line.strip() for line in join_lines(text)[0].strip().split("\n")] == parts


def test_joining_lines_of_random_shape_loses_no_word() -> None:
    rng = random.Random(3)
    for seed in range(60):
        words = " ".join(sentences(seed, 20)).split()
        text = "".join(w + rng.choice([" ", " ", " ", "\n", "\n\n", "\n    ", "\n- "]) for w in words) + "\n"
        joined, _ = join_lines(text)
        assert joined.split() == text.split()
