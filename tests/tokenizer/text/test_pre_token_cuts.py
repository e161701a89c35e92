from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.text.pre_token_cuts import BLOCK_CHARS, LONGEST_BLOCK_CHARS, cut_blocks, rules_of, rules_of_tokens

SPACES = (re.compile(r"(?<=\S)(?= \S)"),)


def test_a_rule_holds_only_if_no_pre_token_crosses_its_positions() -> None:
    words = rules_of(lambda text: re.findall(r"\s+|\S+", text))
    assert [rule.pattern for rule in words] == [r"(?<=\S)(?= \S)", r"(?<=\n)(?=\S)"]
    assert rules_of(lambda text: [text]) == ()
    assert rules_of(lambda text: re.findall(r"\w+ \w|.", text, re.DOTALL))[0].pattern == r"(?<=\n)(?=\S)"


def test_a_rule_of_tokens_holds_if_no_token_contains_its_position() -> None:
    assert next(rule.pattern for rule in rules_of_tokens([" the", "a", "  ", "\n"])) == SPACES[0].pattern
    assert SPACES[0].pattern not in [rule.pattern for rule in rules_of_tokens(["of the"])]


@given(words=st.lists(st.sampled_from(["word", "漢字", "x" * 700, "\n\n", "a\r\n", "<vision>", ". "]), max_size=60))
@settings(deadline=None, max_examples=50)
def test_blocks_join_to_the_text_and_end_at_spaces(words: list[str]) -> None:
    text = " ".join(words)
    found = list(cut_blocks([text], SPACES))
    assert "".join(found) == text
    assert all(0 < len(block) <= BLOCK_CHARS for block in found)
    assert all(not a[-1].isspace() and b[0] == " " for a, b in pairwise(found))


@pytest.mark.parametrize("unit", ["x", "<vision>", "e\u0301", "\r\n", "\u0301"])
def test_text_without_a_position_is_cut_outside_of_markers_and_characters(unit: str) -> None:
    text = unit * (3 * LONGEST_BLOCK_CHARS // len(unit))
    for shift in ("", "y", "yy", "yyy"):
        found = list(cut_blocks([shift + text], SPACES))
        assert "".join(found) == shift + text
        assert max(map(len, found)) <= LONGEST_BLOCK_CHARS
        if unit != "\u0301":
            assert all(block.startswith(unit) for block in found[1:])


@given(st.lists(st.integers(1, 5000), max_size=30))
@settings(deadline=None, max_examples=20)
def test_blocks_do_not_depend_on_chunks(sizes: list[int]) -> None:
    text = ("many words " * 300 + "q" * 5000 + "\n" + "漢字。" * 2000) * 9
    edges = [0]
    for size in sizes:
        edges.append(min(edges[-1] + size, len(text)))
    chunks = [text[a:b] for a, b in pairwise([*edges, len(text)])]
    rules = rules_of_tokens(["x"])
    assert list(cut_blocks(chunks, rules)) == list(cut_blocks([text], rules))
