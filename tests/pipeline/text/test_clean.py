"""Each step of cleaning: what it takes out, what it leaves alone, and that doing it twice is doing it once."""

from __future__ import annotations

import random
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.books import BookConfig
from pipeline.text.clean import clean, join_hyphens, repair_text, strip_boilerplate
from pipeline.text.hard_wraps import join_lines
from pipeline.text.personal_data import mask_personal_data
from pipeline.text.running_headers import strip_running_headers
from tests.support.texts import paragraphs, sentences, story, wrapped

ALL = BookConfig().steps
VERSE = """The curfew tolls the knell of parting day,
The lowing herd winds slowly o'er the lea,
The ploughman homeward plods his weary way,
And leaves the world to darkness and to me."""
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


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30), width=st.sampled_from([0, 45, 60, 72]))
@settings(deadline=None, max_examples=40)
def test_a_clean_text_stays_and_a_wrapped_one_becomes_it(seed: int, count: int, width: int) -> None:
    text = story(seed, count)
    cleaned, _ = clean(wrapped(text, width) if width and count > 3 else text, ALL)
    assert cleaned == text
    assert clean(cleaned, ALL)[0] == text


@pytest.mark.parametrize("mark", ["THE", "THIS"])
@pytest.mark.parametrize("tail", [FOOTER, "\nEnd of the Project Gutenberg EBook of A Story\n\nlaw\n"])
def test_what_stands_around_a_gutenberg_text_goes(mark: str, tail: str) -> None:
    credit = "Produced by A. Reader and the Online Distributed Proofreading\nTeam at https://www.pgdp.net\n\n"
    note = "[Transcriber's note: spelling was kept.]\n\n"
    text = story(3)
    cleaned, counts = clean(HEADER + START.format(mark) + credit + note + wrapped(text) + tail.format(mark), ALL)
    assert cleaned == text
    assert 0 < counts["boilerplate_share"] < 0.5


def test_older_marks_and_none_at_all() -> None:
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


def test_a_file_without_any_blank_line_gets_its_paragraphs_back() -> None:
    parts = ["THE OLD MILL", "By A. Miller", *paragraphs(6, 40)]
    body = "\n".join(textwrap.fill(part, 72) for part in parts)
    credit = "Produced by A. Reader and the Online Distributed Proofreading Team\n"
    cleaned, _ = clean(
        HEADER.replace("\n\n", "\n") + START.format("THIS").strip() + "\n" + credit + body + FOOTER.format("THIS"), ALL
    )
    found = cleaned.strip().split("\n")
    assert found[:2] == parts[:2]
    assert len(set(parts) & set(found)) > 0.8 * len(parts)  # a last line that happens to be full cannot be told
    assert cleaned.split() == " ".join(parts).split()


def test_text_that_was_decoded_twice_is_mended_and_quotes_stay() -> None:
    said = "‘Café’ – “naïve”, said the Brontë. ﬁne\n"
    assert repair_text(said)[0] == said.replace("ﬁ", "fi")
    mended, changed = repair_text("The caf\u00c3\u00a9 was closed.\nAll is well.\n")
    assert (mended, changed) == ("The café was closed.\nAll is well.\n", 1)
    assert repair_text("a\u2028b \x07 \t\n\n\n\n\n\nR&amp;D\n\n") == ("a\nb\n\n\nR&D\n", pytest.approx(1, abs=3))
    assert repair_text("<b>R&amp;D</b>\n")[0] == "<b>R&amp;D</b>\n"  # markup, or about it: not ours to unescape


def test_mending_does_not_depend_on_where_chunks_end() -> None:
    line = "A caf\u00c3\u00a9 in the town, and nothing else.\n"
    assert repair_text(line * 5000)[0] == "A café in the town, and nothing else.\n" * 5000


def scanned(text: str, *, feed: bool, head: str = "THE OLD MILL", lines: int = 30) -> str:
    """Return the text as a scan has it: pages of lines with a running head and a number at the foot."""
    set_lines = wrapped(text, 60).rstrip("\n").split("\n")
    pages = [set_lines[i : i + lines] for i in range(0, len(set_lines), lines)]
    edge = "\f" if feed else ""
    heads = ["", *(edge + head for _ in pages[1:])]  # the first page of a book has none
    return "\n".join(
        "\n".join([above, "", *page, "", str(n)]) for n, (above, page) in enumerate(zip(heads, pages, strict=True), 7)
    )


@pytest.mark.parametrize("feed", [True, False])
def test_pages_of_a_scan_become_one_text(feed: bool) -> None:
    text = story(7, 60)
    cleaned, counts = clean(scanned(text, feed=feed), ALL)
    assert cleaned.replace("\f", " ").split() == text.split()
    assert counts["running_header_lines"] >= 2 * 10
    whole = [part for part in cleaned.replace("\f", " ").split("\n\n") if part in text.split("\n\n")]
    assert len(whole) > 0.8 * 60  # most paragraphs that a page's end cut are one again
    assert (cleaned.count("\f") > 5) == feed  # by which `trace` counts pages


def test_heads_that_bear_the_number_go_too_and_chapters_stay() -> None:
    body = sentences(9, 500)
    lines = []
    for n in range(20):
        lines += [f"{n + 101}   THE OLD MILL" if n % 2 else f"THE OLD MILL   {n + 101}", *body[n * 25 : n * 25 + 25]]
    cleaned, count = strip_running_headers("\n".join(lines) + "\n")
    assert (cleaned, count) == ("\n".join(body) + "\n", 20.0)
    rng = random.Random(0)
    for head in ("{}", "Chapter {}", "Mill {}"):
        long = [f"{head.format(n)}\n\n" + "\n".join(sentences(n, rng.randint(20, 80))) for n in range(1, 30)]
        chapters = "\n\n".join(long) + "\n"
        assert strip_running_headers(chapters) == (chapters, 0.0)
    pages = "\n\f".join(f"Chapter {n}\n\n" + "\n".join(sentences(n, 30)) for n in range(1, 12)) + "\n"
    assert strip_running_headers(pages) == (pages, 0.0)
    sonnets = "\n\n".join(f"{n}\n\n" + "\n".join(sentences(n, 14)) for n in range(1, 60)) + "\n"
    assert strip_running_headers(sonnets) == (sonnets, 0.0)
    listed = "\n".join(str(n) for n in range(1, 50)) + "\n"
    assert strip_running_headers(listed) == (listed, 0.0)
    marked = "He came [Pg 12] home.\n\n[Pg 13]\n\n{page 14} Late, wo[Pg 15]rn [Pg 16]\nand tired.[Pg 17]\n"
    assert strip_running_headers(marked) == ("He came home.\n\n\nLate, worn\nand tired.\n", 6.0)


def test_hyphens_are_resolved_by_the_book_itself() -> None:
    text = "An exam-\nple here; an example there. A well-\nknown man, well-known to all. The co-\noperative. "
    text += "Two-\nthirds of\ntwo thirds. Jean-\nPaul came. A \u00adsoft hy\u00ad\nphen.\n"
    mended, count = join_hyphens(text)
    assert "An example here" in mended
    assert "A well-known man" in mended
    assert "The cooperative" in mended  # neither part is a word of the book
    assert "Two-\nthirds" in mended  # both are
    assert "Jean-\nPaul" in mended
    assert "soft hyphen." in mended
    assert count == 4
    assert join_hyphens("An exam-\n\fple of it, an example.\n")[0] == "An example\f of it, an example.\n"
    assert join_hyphens(mended) == (mended, 0.0)


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
    verses = "\n".join(sentences(3, 60)) + "\n"  # a sentence a line is no wrapping
    assert join_lines(verses) == (verses, 0.0)


def test_indented_paragraphs_without_blank_lines_are_told_apart() -> None:
    parts = paragraphs(5, 12)
    text = "\n".join(textwrap.fill(part, 64, initial_indent="  ") for part in parts) + "\n"
    assert [line.strip() for line in join_lines(text)[0].strip().split("\n")] == parts


def test_no_letter_is_lost_by_joining_lines_of_random_shape() -> None:
    rng = random.Random(3)
    for seed in range(60):
        words = " ".join(sentences(seed, 20)).split()
        text = "".join(w + rng.choice([" ", " ", " ", "\n", "\n\n", "\n    ", "\n- "]) for w in words) + "\n"
        joined, _ = join_lines(text)
        assert joined.split() == text.split()


def test_personal_data_is_masked_where_the_check_holds() -> None:
    text = (
        "Write to jane.doe+x@mail.example.co.uk or +44 20 7946 0958, (555) 123-4567. Card 4111 1111 1111 1111, not "
        "4111 1111 1111 1112. IBAN GB82 WEST 1234 5698 7654 32, not GB82 WEST 1234 5698 7654 33. At 8.8.8.8 and "
        "2606:4700:4700::1111, not 192.168.0.1 or 300.1.1.1. In 1984 and 1,234,567 of 12-34; ISBN 978-3-16-148410-0."
    )
    masked, counts = mask_personal_data(text)
    assert masked == (
        "Write to [email] or [phone], [phone]. Card [card], not "
        "4111 1111 1111 1112. IBAN [iban], not GB82 WEST 1234 5698 7654 33. At [ip] and "
        "[ip], not 192.168.0.1 or 300.1.1.1. In 1984 and 1,234,567 of 12-34; ISBN 978-3-16-148410-0."
    )
    assert counts == {"pii_email": 1, "pii_iban": 1, "pii_card": 1, "pii_ip": 2, "pii_phone": 2}
    assert mask_personal_data(masked)[0] == masked


HURTFUL = [
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


@pytest.mark.parametrize("part", HURTFUL)
def test_no_text_makes_cleaning_slow(part: str) -> None:
    text = "".join(f"{line}\n" for line in sentences(1, 20)) + part * 60_000 + "@b\n"
    began = time.process_time()
    cleaned, _ = clean(text, ALL)
    mask_personal_data(cleaned)
    assert time.process_time() - began < 10  # of many minutes, where a step takes the square of the length
