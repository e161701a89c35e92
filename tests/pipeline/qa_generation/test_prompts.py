from __future__ import annotations

import json

import pytest

from pipeline.qa_generation.prompts import TASKS, answer_request, parse_reply, question_request


@pytest.mark.parametrize("task", TASKS)
def test_a_request_has_the_passage_and_depends_on_task_and_seed(task: str) -> None:
    request = question_request("  The kettle sang.\n", task, temperature=0.5, seed=1)  # type: ignore[arg-type]
    assert "Passage:\nThe kettle sang.\n" in request.messages[0].text
    others = [
        question_request("The kettle sang.", other, temperature=0.5, seed=seed) for other in TASKS for seed in (1, 2)
    ]
    assert len({request.digest(), *(other.digest() for other in others)}) == len(others)


def test_the_schema_of_a_reply_describes_what_is_read() -> None:
    request = question_request("The kettle sang.", "fact", temperature=0, seed=0, json_schema=True)
    properties = json.loads(request.json_schema or "")["properties"]
    assert parse_reply(json.dumps(dict.fromkeys(properties, "x"))) == ("x", "x")
    assert question_request("The kettle sang.", "fact", temperature=0, seed=0).json_schema is None


def test_a_question_is_asked_alone_without_sampling() -> None:
    request = answer_request("Who sang?")
    assert request.messages[0].text.endswith("Question: Who sang?")
    assert request.temperature == 0


@pytest.mark.parametrize(
    "text",
    [
        '{"question": "Who sang?", "answer": "The kettle"}',
        'Here it is:\n```json\n{"question": " Who sang? ", "answer": "The kettle "}\n```\nI hope it helps {really}.',
        '{"note": 1} {"answer": "The kettle", "question": "Who sang?", "more": [1]}',
    ],
)
def test_the_first_object_with_both_is_read(text: str) -> None:
    assert parse_reply(text) == ("Who sang?", "The kettle")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Who sang? The kettle",
        '{"question": "Who"',
        '{"question": 3, "answer": "x"}',
        '{"question": " ", "answer": "x"}',
        "{" * 3000,
        '{"a":' * 300_000,
    ],
)
def test_a_reply_without_both_is_none(text: str) -> None:
    assert parse_reply(text) is None
