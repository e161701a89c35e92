"""What a model is asked, and how its reply is read.

Every task asks for an answer that is copied from the chunk, so that it can be located there and checked.
"""

from __future__ import annotations

import json
from typing import Literal, get_args

from pipeline.language_models.chat import ChatRequest, Message

Task = Literal["fact", "name", "sentence"]
TASKS: tuple[Task, ...] = get_args(Task)

_MAX_TOKENS = 300
_MAX_ANSWER_TOKENS = 64
_MOST_CHARACTERS = 20_000  # of a reply that are read, far more than its tokens have
_WHAT: dict[Task, str] = {
    "fact": "one question about a detail that only this passage tells. The answer is a few words of the passage",
    "name": "one question whose answer is the name of a person, a place or a thing that the passage mentions",
    "sentence": "one question about what the passage tells or claims. The answer is one whole sentence of the passage",
}
_QUESTION = """\
Read the passage and write {what}, copied character for character.
The question must be clear to somebody who has the whole book in front of them: use names instead of "the passage" or \
"he", and do not give the answer away. Write in the language of the passage.
Reply with a JSON object and nothing else: {{"question": "...", "answer": "..."}}

Passage:
{passage}
"""
_FORM = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
    "additionalProperties": False,
}
_WITHOUT = "Answer in a few words. If you do not know, reply: unknown.\n\nQuestion: {question}"


def question_request(
    passage: str, task: Task, *, temperature: float, seed: int, json_schema: bool = False
) -> ChatRequest:
    """Return the request for a question and its answer about a passage."""
    text = _QUESTION.format(what=_WHAT[task], passage=passage.strip())
    return ChatRequest(
        messages=(Message("user", (text,)),),
        max_tokens=_MAX_TOKENS,
        temperature=temperature,
        seed=seed,
        json_schema=json.dumps(_FORM) if json_schema else None,
    )


def answer_request(question: str) -> ChatRequest:
    """Return the request for an answer without the passage."""
    text = _WITHOUT.format(question=question)
    return ChatRequest(messages=(Message("user", (text,)),), max_tokens=_MAX_ANSWER_TOKENS)


def parse_reply(text: str) -> tuple[str, str] | None:
    """Return question and answer of the first JSON object in a reply that has both; None if there is none."""
    decoder, text = json.JSONDecoder(), text[:_MOST_CHARACTERS]  # each bracket is tried
    at = text.find("{")
    while at != -1:
        try:
            found, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            question, answer = found.get("question"), found.get("answer")
            if isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip():
                return question.strip(), answer.strip()
        at = text.find("{", at + 1)
    return None
