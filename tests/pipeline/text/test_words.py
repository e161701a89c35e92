"""Words and shingles: normalization, positions and hashes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text import words as module
from pipeline.text.words import TooManyWords, mix, shingles, split_words


def test_case_and_punctuation_do_not_matter() -> None:
    one, other = split_words("“Don’t,” said THE_Old man"), split_words('"Don\'t" said the old _Man_!')
    assert np.array_equal(one.hashes, other.hashes)


def test_hash_of_a_word_is_blake2b() -> None:
    expected = int.from_bytes(hashlib.blake2b(b"man", digest_size=8).digest(), "little")
    assert split_words("Man").hashes.tolist() == [expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("吾輩は猫である。", list("吾輩は猫である")),
        ("データ・ベース々", list("データベース々")),
        ("𠮷野家ﾃﾞｽ", ["𠮷", "野", "家", "ﾃ", "ﾞ", "ｽ"]),
        ("ที่นี่ ๑๒", ["ที่", "นี่", "๑๒"]),
        ("กาลครั้งหนึ่ง", ["กาลครั้", "งหนึ่", "ง"]),
        ("ໜຶ່ງ", ["ໜຶ່", "ງ"]),
        ("ព្រៃ។", ["ព្", "រៃ"]),
        ("ရှေး။", ["ရှေး"]),
        ("སྔོན་ཆེ", ["སྔོ", "ན", "ཆེ"]),
        ("ꆈꌠ", ["ꆈ", "ꌠ"]),
        ("Windows漢字2020年", ["Windows", "漢", "字", "2020", "年"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),
        ("വൃദ്ധൻ", ["വൃദ്ധൻ"]),
        ("שָׁלוֹם לְכֻלָּם", ["שָׁלוֹם", "לְכֻלָּם"]),
        ("می‌شود", ["می‌شود"]),
        ("cafe\u0301 caf\u00e9 na\u00efve", ["cafe\u0301", "caf\u00e9", "na\u00efve"]),
        ("don’t _stop_ re-read", ["don", "t", "stop", "re", "read"]),
    ],
)
def test_words_depend_on_the_script(text: str, words: list[str]) -> None:
    found = split_words(text)
    assert [text[a:b] for a, b in zip(found.starts.tolist(), found.ends.tolist(), strict=True)] == words


@given(st.text(max_size=200))
@settings(deadline=None)
def test_positions_delimit_the_words(text: str) -> None:
    words = split_words(text)
    found = [text[a:b] for a, b in zip(words.starts.tolist(), words.ends.tolist(), strict=True)]
    assert all(word[0].isalnum() and not any(c.isspace() or c in "_’-.,。" for c in word) for word in found)
    assert [split_words(word).hashes.tolist() for word in found] == [[value] for value in words.hashes.tolist()]


def test_words_within_a_range_keep_their_positions() -> None:
    words = split_words("one two three four")
    inner = words.within(4, 14)
    assert (inner.starts.tolist(), inner.ends.tolist()) == ([4, 8], [7, 13])


def test_shingles_are_one_per_run_and_depend_on_order() -> None:
    hashes = split_words("a b c d e f").hashes
    assert [len(shingles(hashes, size)) for size in (1, 5, 6, 7)] == [6, 2, 1, 0]
    assert shingles(hashes, 2)[0] != shingles(hashes[::-1], 2)[-1]
    assert np.array_equal(shingles(hashes, 3)[1:], shingles(hashes[1:], 3))


def test_mix_is_a_bijection_that_changes_every_bit() -> None:
    values = mix(np.arange(1 << 12, dtype=np.uint64))
    assert len(np.unique(values)) == 1 << 12
    shares = [(values >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)]
    assert all(0.4 < share < 0.6 for share in shares)


def test_more_words_than_allowed_are_an_error() -> None:
    assert len(split_words("one two three", most=3).hashes) == 3
    with pytest.raises(TooManyWords):
        split_words("one two three", most=2)


def test_forgetting_known_words_changes_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a b c d a b c d e a b"
    expected = split_words(text)
    monkeypatch.setattr(module, "_MOST_KNOWN", 2)
    assert np.array_equal(split_words(text).hashes, expected.hashes)
