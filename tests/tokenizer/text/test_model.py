from __future__ import annotations

from tokenizer.text.model import is_marker


def test_tokens_in_brackets_are_markers_and_words_and_spaces_are_not() -> None:
    assert all(map(is_marker, ["<s>", "<|im_end|>", "[INST]", "</think>", "<｜User｜>", "{x}"]))
    assert not any(map(is_marker, ["", "<", "<>", "   ", "\n\n", "word", "...", "<x", "7"]))
