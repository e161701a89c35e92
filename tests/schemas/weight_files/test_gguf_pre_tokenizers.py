from __future__ import annotations

from typing import Any

import pytest

from schemas.weight_files.gguf_pre_tokenizers import KNOWN, NAMES, name_of, resolved, splitters


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_pre_tokenizer_is_found_again(name: str) -> None:
    assert name_of({"type": "Sequence", "pretokenizers": splitters(name)}) == name


def test_a_single_pre_tokenizer_needs_no_sequence_and_defaults_may_be_missing() -> None:
    assert name_of({"type": "ByteLevel", "add_prefix_space": False}) == "gpt-2"


@pytest.mark.parametrize(
    "other",
    [
        None,
        {"type": "ByteLevel"},  # adds a space before the text
        {"type": "Whitespace"},
        {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, *splitters("gpt-2")]},
        {"type": "Sequence", "pretokenizers": splitters("gpt-2") * 2},
    ],
)
def test_others_have_no_name(other: dict[str, Any] | None) -> None:
    assert name_of(other) is None


def test_aliases_stand_for_known_names() -> None:
    assert resolved("llama-v3") == "llama-bpe"
    assert {resolved(name) for name in NAMES} == set(KNOWN)
