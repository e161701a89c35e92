from __future__ import annotations

import pytest

from pipeline.text.memory import most_words, too_large
from schemas.errors import InputError, Reason

MIB = 1 << 20


def test_fewer_words_are_allowed_beside_more_or_wider_characters_and_lines() -> None:
    narrow, wide, lines = "a" * 10_000, "a" * 9_999 + "\U0001f600", "a\n" * 5_000
    allowed = [most_words(text, MIB) for text in (narrow, wide, lines)]
    assert allowed[0] > allowed[1] > allowed[2] > 0


def test_a_text_whose_characters_alone_take_too_much_is_an_error_that_names_the_option() -> None:
    with pytest.raises(InputError, match="takes more than 1 MiB of memory; raise books.max-memory-mb") as e:
        most_words("a" * MIB, MIB)
    assert e.value.reason is Reason.MEMORY
    assert str(e.value) == str(too_large("a" * MIB, MIB))
