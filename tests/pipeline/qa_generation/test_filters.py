from __future__ import annotations

import pytest

from pipeline.qa_generation.filters import Rejection, contains, locate, normal, reject

CHUNK = (
    "The old lighthouse keeper, Josefine Albrecht, kept a kettle on the stove all night. “Nobody drowns while "
    "it sings,”\nshe used to say, and in forty-one years nobody did. The ships passed, and their "
    "captains lowered the flags. "
    "Every spring the painters came to whiten the tower, and every autumn the storms made it gray again."
)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Josefine Albrecht", "Josefine Albrecht"),
        ("josefine  albrecht.", "Josefine Albrecht"),
        ('"Nobody drowns while it sings"', "Nobody drowns while it sings"),
        ("it sings,” she used to say", "it sings,”\nshe used to say"),
        ("forty-one years", "forty-one years"),
        ("Albrech", None),
        ("Josefine Schmidt", None),
        ("...", None),
    ],
)
def test_an_answer_is_located_by_whole_words(answer: str, found: str | None) -> None:
    span = locate(answer, CHUNK)
    assert (None if span is None else CHUNK[slice(*span)]) == found


def test_an_answer_is_located_in_scripts_without_spaces() -> None:
    chunk = "灯塔看守人约瑟芬整夜把水壶放在炉子上。"
    assert locate("约瑟芬", chunk) == (5, 8)
    assert locate("约翰", chunk) is None


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Who kept a kettle on the stove?", "Josefine Albrecht", None),
        ("Who kept it?", "I'm sorry, I cannot answer that", Rejection.REFUSAL),
        ("What is the color of the sea?", "It is not mentioned in the passage", Rejection.REFUSAL),
        ("Who kept it?", "Captain Ahab", Rejection.NOT_IN_CHUNK),
        ("What happened?", CHUNK[:150], Rejection.TOO_LONG),
        ("What did Josefine Albrecht, the keeper, keep?", "josefine albrecht", Rejection.GIVEN_AWAY),
        (
            "Welche Frau hat jede Nacht den Kessel auf dem Herd gelassen, damit niemand auf See ertrinkt?",
            "Josefine Albrecht",
            Rejection.LANGUAGE,
        ),
    ],
)
def test_a_pair_is_rejected_with_its_reason(question: str, answer: str, reason: Rejection | None) -> None:
    assert reject(question, answer, CHUNK) is reason


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert normal("It's the “Kettle”, AGAIN.") == normal("it's the kettle again")
    assert contains("I believe it was Josefine ALBRECHT.", "Josefine Albrecht")
    assert not contains("Josefine", "Josefine Albrecht")
    assert not contains("the kettles", "kettle")
