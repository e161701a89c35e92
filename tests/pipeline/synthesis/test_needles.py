from __future__ import annotations

import re
from typing import Any

import pytest

from pipeline.evaluation.haystack import Haystack
from pipeline.evaluation.needles import SYSTEM, question_about
from pipeline.synthesis.item import SynthConfig, token_count
from pipeline.synthesis.needles import NeedleItems, needle_documents
from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer

_NEEDLE = re.compile(r"The special magic (.+) number is: (\d{7})")


@pytest.mark.parametrize(("needles", "asked"), [(1, (1,)), (4, (1,)), (5, (2,)), (6, (1, 2, 3))])
def test_all_needles_are_hidden_in_the_text_and_asked_for(
    tokenizer: TextTokenizer, haystack: Haystack, needles: int, asked: tuple[int, ...]
) -> None:
    synth = SynthConfig(length=1500, count=6)
    for document in needle_documents(NeedleItems(needles=needles, asked=asked), synth, haystack, tokenizer):
        system, *turns = document.turns
        hidden = dict(_NEEDLE.findall(turns[0].text))
        questions, answers = turns[::2], turns[1::2]
        assert system.text == SYSTEM
        counts = [turn.text.count(", ") + 1 for turn in answers]
        assert all(count in asked for count in counts[:-1])
        assert counts[-1] <= max(asked)
        assert sorted(", ".join(turn.text for turn in answers).split(", ")) == sorted(hidden.values())
        for question, answer in zip(questions, answers, strict=True):
            asks = question.text.rsplit("What ", 1)[1]
            assert [city for city in hidden if city in asks] == [c for c in hidden if hidden[c] in answer.text]
        assert set(document.facts["cities"]) == set(hidden)
        assert 0.97 * 1500 < token_count(document.turns, tokenizer) <= 1500


def test_documents_differ_and_a_seed_gives_them_again(tokenizer: TextTokenizer, haystack: Haystack) -> None:
    synth = SynthConfig(length=1000, count=4)
    made = list(needle_documents(NeedleItems(), synth, haystack, tokenizer))
    assert made == list(needle_documents(NeedleItems(), synth, haystack, tokenizer))
    assert len({one.turns[-1].text for one in made}) == 4


def test_questions_for_several_needles_name_their_cities_and_answers_have_the_order(
    tokenizer: TextTokenizer, haystack: Haystack
) -> None:
    config, counts = NeedleItems(needles=8, asked=(1, 2)), set()
    for document in needle_documents(config, SynthConfig(length=2000, count=4), haystack, tokenizer):
        numbers = dict(_NEEDLE.findall(document.turns[1].text))
        cities = list(document.facts["cities"])
        for question, answer in zip(document.turns[1::2], document.turns[2::2], strict=True):
            some, cities = cities[: answer.text.count(", ") + 1], cities[answer.text.count(", ") + 1 :]
            assert question.text.endswith(question_about(some))
            assert answer.text == ", ".join(numbers[city] for city in some)
            counts.add(len(some))
    assert counts == {1, 2}


def test_a_length_without_room_is_refused(tokenizer: TextTokenizer, haystack: Haystack) -> None:
    with pytest.raises(ConfigError, match="too short for 3 needles"):
        list(needle_documents(NeedleItems(needles=3), SynthConfig(length=100), haystack, tokenizer))


@pytest.mark.parametrize("wrong", [{"asked": (0,)}, {"asked": (1, 2)}, {"asked": ()}, {"needles": 1000}])
def test_wrong_numbers_of_needles_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="asked and needles"):
        NeedleItems(**wrong)
