"""Other editions and parts of a book are found, sequels and quotations are not."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import asdict

import numpy as np
import pytest

from pipeline.dedup.book_similarity import VERSION, BookSimilarity, book_signature
from pipeline.dedup.similarity import Signature
from tests.support.golden import check_golden
from tests.support.texts import paragraphs, sentences, story, wrapped

SIMILARITY = BookSimilarity()
NOVEL = story(1, 250)
MISREAD = {"e": "c", "l": "1", "o": "0", "h": "b", "n": "u", "m": "rn", "i": "l", "a": "o", "t": "l", " ": ""}


def signed(text: str, name: str = "x") -> Signature:
    return book_signature(text, name)


def misread(text: str, share: float) -> str:
    rng = random.Random(0)
    return "".join(MISREAD.get(c, c) if rng.random() < share else c for c in text)


def collide(a: Signature, b: Signature) -> bool:
    return len(np.intersect1d(SIMILARITY.hash_keys(a), SIMILARITY.hash_keys(b))) > 0


EDITIONS = {
    "other line ends": wrapped(NOVEL, 55),
    "one line": NOVEL.replace("\n\n", " "),
    "capitals and quotes": NOVEL.upper().replace(",", " —").replace(".", "!”"),
    "another preface": story(99, 12) + NOVEL,
    "notes at the foot": "\n\n".join(
        p + ("\n\n" + sentences(i, 1)[0] if i % 9 == 0 else "") for i, p in enumerate(NOVEL.split("\n\n"))
    ),
    "modern spelling": re.sub(r"\b(every|this|one)\b", "some", NOVEL.replace("our", "or")),
    "misread 0.5 %": misread(NOVEL, 0.005),
    "misread 1 %": misread(NOVEL, 0.01),
    "misread 2 %": misread(NOVEL, 0.02),
}


@pytest.mark.parametrize("name", sorted(EDITIONS))
def test_another_edition_is_found(name: str) -> None:
    a, b = signed(NOVEL, "a"), signed(EDITIONS[name], "b")
    assert collide(a, b)
    shared = SIMILARITY.compare(a, b)
    assert shared is not None
    assert shared.containment_a > 0.9
    assert shared.containment_b > 0.8
    back = SIMILARITY.compare(b, a)
    assert back is not None
    assert back.containment_b == pytest.approx(shared.containment_a, abs=0.05)


def test_a_sequel_and_a_book_that_quotes_are_not_found() -> None:
    a = signed(NOVEL, "a")
    assert not collide(a, signed(story(2, 250)))
    assert SIMILARITY.compare(a, signed(story(2, 250))) is None
    quoting = "\n\n".join([*paragraphs(3, 60), NOVEL.split("\n\n")[100], *paragraphs(4, 60)])
    assert SIMILARITY.compare(a, signed(quoting)) is None


def test_a_part_is_found_at_its_place() -> None:
    parts = NOVEL.split("\n\n")
    before, middle = "\n\n".join(parts[:100]), "\n\n".join(parts[100:160])
    a, b = signed(NOVEL, "a"), signed(middle, "b")
    shared = SIMILARITY.compare(a, b)
    assert shared is not None
    assert shared.containment_b > 0.9
    assert shared.containment_a == pytest.approx(len(middle) / len(NOVEL), abs=0.1)
    ((start, end),) = shared.shared_a
    assert start == pytest.approx(len(before), abs=9000)  # a sample on either side
    assert end == pytest.approx(len(before) + len(middle), abs=9000)
    assert 0.5 < shared.similarity <= 1


def test_an_illegible_page_does_not_split_a_shared_range_and_missing_pages_do() -> None:
    middle = len(NOVEL) // 2
    blurred = NOVEL[:middle] + misread(NOVEL[middle : middle + 12_000], 0.4) + NOVEL[middle + 12_000 :]
    a, b = signed(NOVEL, "a"), signed(blurred, "b")
    shared = SIMILARITY.compare(a, b)
    assert shared is not None
    assert len(shared.shared_a) == len(shared.shared_b) == 1
    assert shared.containment_a > 0.98
    shared = SIMILARITY.compare(a, signed(NOVEL[:middle] + NOVEL[middle + 30_000 :], "b"))
    assert shared is not None
    assert len(shared.shared_a) == 2
    assert shared.containment_a < 0.9


def test_half_of_a_short_book_does_not_contain_all_of_it() -> None:
    short = story(5, 6)  # a single sample
    half = "\n\n".join(short.split("\n\n")[:3])
    a, b = signed(short, "a"), signed(half, "b")
    assert len(a.samples) == len(b.samples) == 1
    shared = SIMILARITY.compare(a, b)
    assert shared is not None
    assert shared.containment_b == 1
    assert shared.containment_a == pytest.approx(len(half) / len(short), abs=0.02)


def test_equal_books_contain_each_other() -> None:
    shared = SIMILARITY.compare(signed(NOVEL, "a"), signed(NOVEL, "b"))
    assert shared is not None
    assert (shared.containment_a, shared.containment_b, shared.similarity) == (1, 1, 1)
    assert shared.shared_a == shared.shared_b == ((float(NOVEL.index("a") * 0), float(len(NOVEL))),)


@pytest.mark.parametrize("text", ["", "...", "one", "one two three", " ".join(map(str, range(401)))])
def test_short_texts_have_one_sample_or_none(text: str) -> None:
    signature = signed(text)
    assert len(signature.samples) == len(signature.starts) == (1 if any(map(str.isalnum, text)) else 0)
    assert SIMILARITY.hash_keys(signature).shape == (len(signature.samples), 21)
    shared = SIMILARITY.compare(signature, signature)
    assert (shared is None) == (not signature.samples)


def test_samples_cover_the_text_and_do_not_depend_on_the_machine() -> None:
    signature = signed(NOVEL)
    assert np.all(signature.starts[1:] == (signature.starts + signature.lengths)[:-1])
    assert signature.starts[-1] + signature.lengths[-1] == len(NOVEL)
    assert {len(sample) for sample in signature.samples} == {256}
    few = signed("It was a bright cold day in April, and the clocks were striking thirteen.")
    assert few.samples[0][:16].hex() == "a91b57c0a5de7aabff552bd505cdf3c2"
    assert int(SIMILARITY.hash_keys(few)[0, 0]) == 4001792660164727398


def test_signatures_and_comparisons_change_only_with_the_version() -> None:
    a, b = signed(NOVEL, "a"), signed(EDITIONS["misread 2 %"], "b")
    samples = [hashlib.sha256(b"".join(one.samples)).hexdigest() for one in (a, b)]
    keys = [hashlib.sha256(SIMILARITY.hash_keys(one).astype("<u8").tobytes()).hexdigest() for one in (a, b)]
    found = SIMILARITY.compare(a, b)
    assert found is not None
    output = {"samples": samples, "starts": a.starts.tolist(), "keys": keys, "shared": asdict(found)}
    check_golden("book_similarity", (VERSION, list(asdict(SIMILARITY).values())), output)
