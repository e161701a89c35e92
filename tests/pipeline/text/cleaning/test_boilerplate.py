"""Boilerplate of Project Gutenberg and others."""

from __future__ import annotations

import pytest

from pipeline.text.books import BookConfig
from pipeline.text.cleaning.boilerplate import strip_boilerplate
from pipeline.text.cleaning.steps import clean
from tests.support.texts import story, wrapped

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
SMALL = "***START**THE SMALL PRINT!**FOR ETEXTS**START***\nlaw\n*END*THE SMALL PRINT! FOR ETEXTS*Ver.04*END*\n\n"


@pytest.mark.parametrize("mark", ["THE", "THIS"])
@pytest.mark.parametrize("tail", [FOOTER, "\nEnd of the Project Gutenberg EBook of A Story\n\nlaw\n"])
def test_text_around_a_gutenberg_book_is_removed(mark: str, tail: str) -> None:
    credit = "Produced by A. Reader and the Online Distributed Proofreading\nTeam at https://www.pgdp.net\n\n"
    note = "[Transcriber's note: spelling was kept.]\n\n"
    text = story(3)
    cleaned, counts = clean(HEADER + START.format(mark) + credit + note + wrapped(text) + tail.format(mark), ALL)
    assert cleaned == text
    assert 0 < counts["boilerplate_share"] < 0.5


def test_older_marks_are_recognized_and_books_without_marks_unchanged() -> None:
    text = story(4)
    assert strip_boilerplate(SMALL + text)[0] == text
    front = "Project Gutenberg's Botchan (Master Darling), by Kin-nosuke Natsume\n\n"
    assert strip_boilerplate(front + HEADER.split("\n\n")[1] + "\n\n" + text)[0] == text
    assert strip_boilerplate(text) == (text, 0.0)
    two = "".join(START.format("THE") + story(i) + FOOTER.format("THE") for i in (5, 6))
    assert strip_boilerplate(two)[0].split() == (story(5) + story(6)).split()
    film = "Produced by a studio that was poor at the time, the film had a cast of hundreds. " * 5
    assert strip_boilerplate(film + "\n\n" + text)[0] == film + "\n\n" + text
    about = "A history of Project Gutenberg and its volunteers. " * 3 + "\n"
    assert strip_boilerplate(about)[0] == about
