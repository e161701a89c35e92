from __future__ import annotations

import re

import pytest

from pipeline.evaluation.needles import CITIES
from pipeline.synthesis.copying import CopyConfig, copy_documents
from pipeline.synthesis.item import SynthConfig, token_count
from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer

_SYMBOL = re.compile("|".join([r"\d", *sorted((f" {city}" for city in CITIES), key=len, reverse=True)]))
SYNTH = SynthConfig(length=1500, count=20)


def test_answers_repeat_the_block_before_them(tokenizer: TextTokenizer) -> None:
    config = CopyConfig(repeats=2)
    for document in copy_documents(config, SYNTH, tokenizer):
        blocks, answers = document.turns[::2], document.turns[1::2]
        assert {turn.role for turn in blocks} == {"context"}
        assert [turn.text for turn in answers] == [2 * turn.text for turn in blocks]
        assert token_count(document.turns, tokenizer) <= 1500
        for block, period in zip(blocks, document.facts["periods"], strict=True):
            assert len(_SYMBOL.findall(block.text)) == period


def test_the_length_of_the_block_is_random(tokenizer: TextTokenizer) -> None:
    periods = [p for one in copy_documents(CopyConfig(), SYNTH, tokenizer) for p in one.facts["periods"]]
    assert len(set(periods)) > 15
    assert min(periods) >= 6
    assert max(periods) <= 31


def test_a_document_depends_on_seed_and_number_only(tokenizer: TextTokenizer) -> None:
    config = CopyConfig()
    one = list(copy_documents(config, SynthConfig(length=1500, count=3), tokenizer))
    assert one == list(copy_documents(config, SYNTH, tokenizer))[:3]
    assert one != list(copy_documents(config, SynthConfig(length=1500, count=3, seed=1), tokenizer))


def test_a_length_without_room_for_a_block_is_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ConfigError, match="too short for a block of up to 31 words and its 3 repetitions"):
        list(copy_documents(CopyConfig(), SynthConfig(length=30), tokenizer))


@pytest.mark.parametrize("wrong", [{"shortest": 0}, {"shortest": 9, "longest": 8}, {"repeats": 0}, {"digits": 1.5}])
def test_wrong_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        CopyConfig(**wrong)  # type: ignore[arg-type]
