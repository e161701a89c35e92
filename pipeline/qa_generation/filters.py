"""Which pairs of question and answer are kept, and the reasons for which others are rejected."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

from pipeline.language_models.refusals import is_refusal
from pipeline.text.language import MIN_CONFIDENCE, are_alike, identify_language
from pipeline.text.words import UNSPACED_WORD, WORD


class Rejection(StrEnum):
    """Why a pair is not used."""

    REFUSED_REQUEST = "refused_request"
    """The server refused the request, for example because the chunk is too long."""
    MALFORMED = "malformed"
    """The reply contains no JSON object with a question and an answer."""
    REFUSAL = "refusal"
    """The model says that it cannot answer."""
    NOT_IN_CHUNK = "not_in_chunk"
    """The answer is not a part of the chunk."""
    TOO_LONG = "too_long"
    """The answer is more than a quarter of the chunk."""
    GIVEN_AWAY = "given_away"
    """The question contains the answer."""
    LANGUAGE = "language"
    """The question is in another language than the chunk."""
    DUPLICATE = "duplicate"
    """The same question, or the same answer at the same place, was kept already."""
    WITHOUT_CHUNK = "without_chunk"
    """The model gives the answer without the chunk."""


_FEWEST_CHARACTERS = 60  # of a question whose language can be identified
_LONGEST_SHARE = 4  # an answer is at most one part of so many of the chunk


def reject(question: str, answer: str, chunk: str) -> Rejection | None:
    """Return why a pair is not used, judged by itself; None if it is."""
    if is_refusal(answer) or is_refusal(question):
        return Rejection.REFUSAL
    span = locate(answer, chunk)
    if span is None:
        return Rejection.NOT_IN_CHUNK
    if (span[1] - span[0]) * _LONGEST_SHARE > len(chunk):
        return Rejection.TOO_LONG
    if contains(question, answer):
        return Rejection.GIVEN_AWAY
    return Rejection.LANGUAGE if _is_foreign(question, chunk) else None


def locate(answer: str, chunk: str) -> tuple[int, int] | None:
    """Return the first place [start, end) of the answer in the chunk, of whole words; None if it is not there.

    Letter case, white space, and punctuation and quotation marks around the answer may differ.
    """
    words = answer.strip(" \t\n.,;:!?\"'“”‘’«»").split()
    if not words:
        return None
    before = "" if UNSPACED_WORD.match(words[0]) else r"(?<!\w)"
    after = "" if UNSPACED_WORD.search(words[-1][-1]) else r"(?!\w)"
    found = re.search(before + r"\s+".join(map(re.escape, words)) + after, chunk, re.IGNORECASE)
    return found.span() if found else None


def contains(text: str, answer: str) -> bool:
    """Return whether the words of the answer occur in the text, in order and next to each other."""
    return f" {normal(answer)} " in f" {normal(text)} "


def normal(text: str) -> str:
    """Return the words of a text in lower case, without punctuation."""
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _is_foreign(question: str, chunk: str) -> bool:
    if len(question) < _FEWEST_CHARACTERS:
        return False
    (ours, sure), (theirs, also) = identify_language(chunk), identify_language(question)
    return min(sure, also) >= MIN_CONFIDENCE and not are_alike(ours, theirs)
