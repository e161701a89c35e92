"""Scores of a reply, from 0 to 1, as the public evaluations define them.

RULER (arXiv 2404.06654): share of the references that the reply contains, or whether it contains one of them.
LongBench (arXiv 2308.14508): F1 of words, ROUGE-L, edit similarity, and the numbers and classes in a reply.
LOFT (arXiv 2406.13121): recall of identifiers, containment of answers. MVBench, Video-MME: the letter of a choice.

tests/pipeline/evaluation/test_scorers.py compares them with the figures of the original code on the same replies.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rapidfuzz.distance import LCSseq
from scipy.optimize import linear_sum_assignment

from pipeline.evaluation.chinese_words import normalized_words, segmented
from schemas.errors import ConfigError

Scorer = Callable[[str, Sequence[str], Mapping[str, Any]], float]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_FINAL_ANSWER = re.compile(r"final answer\s*:(.*)", re.IGNORECASE | re.DOTALL)


def score(name: str, reply: str, references: Sequence[str], facts: Mapping[str, Any] | None = None) -> float:
    """Return the score of a reply, or of its first line if `facts["first_line"]`. Raises ConfigError for others."""
    if name not in SCORERS:
        raise ConfigError(f"unknown scorer {name!r}; known are {', '.join(SCORERS)}")
    facts = facts or {}
    shown = reply.lstrip("\n").split("\n")[0] if facts.get("first_line") else reply
    return SCORERS[name](shown, references, facts)


def contains_all(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return the share of the references that the reply contains, in any letter case (RULER)."""
    return sum(reference.lower() in reply.lower() for reference in references) / len(references)


def contains_any(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return whether the reply contains a reference, in any letter case (RULER)."""
    return float(any(reference.lower() in reply.lower() for reference in references))


def word_f1(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return the best F1 of the words of the reply and of a reference, normalised as in SQuAD (LongBench)."""
    words = normalized(reply).split()
    return max(_f1(words, normalized(reference).split()) for reference in references)


def rouge_l(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return the best F1 of the longest common subsequence of words (LongBench, with the package rouge)."""
    return max(_rouge_l(reply, reference) for reference in references)


def chinese_word_f1(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return the best F1 of the words of the reply and of a reference, in segmented Chinese (LongBench)."""
    words = normalized_words(reply)
    return max(_f1(words, normalized_words(reference)) for reference in references)


def chinese_rouge_l(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return `rouge_l` of segmented Chinese (LongBench)."""
    return rouge_l(segmented(reply), [segmented(reference) for reference in references], facts)


def edit_similarity(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return the best similarity of the first line of code of the reply to a reference (LongBench)."""
    lines = reply.lstrip("\n").split("\n")
    line = next((line for line in lines if not any(mark in line for mark in ("`", "#", "//"))), "")
    return max(_ratio(line, reference) for reference in references)


def numbers_in_reply(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return the share of the numbers in the reply that are the number of a reference (LongBench)."""
    numbers = re.findall(r"\d+", reply)
    wanted = [found[0] for reference in references if (found := re.findall(r"\d+", reference))]
    return max((numbers.count(number) / len(numbers) for number in wanted), default=0.0) if numbers else 0.0


def class_in_reply(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return 1 divided by the number of classes that the reply names, if a reference is one (LongBench).

    A class that is part of a longer reference does not count. `facts["classes"]` are all classes.
    """
    return max(_class(reply, reference, facts["classes"]) for reference in references)


def identifiers_recall(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return whether the first k identifiers of the final answer are references, as far as possible (LOFT, mrecall@k).

    k is the number of references, so that a single reference gives recall@1.
    """
    found = set(final_answers(reply)[: len(references)])
    return float(len(found & set(references)) == len(references))


def answer_contained(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return whether the first final answer contains a reference after normalisation (LOFT, subspan_em)."""
    answers = [_plain(answer) for answer in final_answers(reply)]
    return float(bool(answers) and any(_plain(reference) in answers[0] for reference in references))


def answers_contained(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return whether each reference has a final answer of its own that contains it, or is contained in it (LOFT)."""
    answers, wanted = [_plain(answer) for answer in final_answers(reply)], [_plain(one) for one in references]
    if not answers:
        return 0.0
    fits = np.array([[one in answer or answer in one for answer in answers] for one in wanted], float)
    rows, columns = linear_sum_assignment(-fits)
    return float(fits[rows, columns].sum() == len(wanted))


def exact_answer(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return whether the first final answer is a reference after normalisation (LOFT, em)."""
    answers = [_plain(answer) for answer in final_answers(reply)]
    return float(bool(answers) and answers[0] in map(_plain, references))


def choice_letter(reply: str, references: Sequence[str], facts: Mapping[str, Any]) -> float:
    """Return whether the first letter that the reply chooses is the reference: `(B)`, `B.`, `B` or `Answer: B`."""
    found = re.search(r"\(([A-H])\)|(?:^|[\s:])([A-H])(?=[\s.):,]|$)", reply.strip())
    return float(found is not None and (found[1] or found[2]) in references)


def final_answers(reply: str) -> list[str]:
    """Return the answers of a reply that ends in `Final Answer: [...]`; the whole reply if it has no such end."""
    found = _FINAL_ANSWER.search(reply)
    text = (found[1] if found else reply).strip()
    inside = re.search(r"\[(.*?)\]", text, re.DOTALL)
    parts = inside[1].split(",") if inside else [text.splitlines()[0] if text else ""]
    return [part.strip().strip("'\"").strip() for part in parts if part.strip().strip("'\"").strip()]


def normalized(text: str) -> str:
    """Return text in lower case without punctuation, articles and repeated white space, as in SQuAD's evaluation."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _plain(text: str) -> str:
    return normalized(unicodedata.normalize("NFD", text))


def _f1(found: Sequence[str], wanted: Sequence[str]) -> float:
    same = (Counter(found) & Counter(wanted)).total()
    return 2 * same / (len(found) + len(wanted)) if same else 0.0


def _rouge_l(reply: str, reference: str) -> float:
    """Return the F1 of the package rouge 1.0.1: the union of LCS per sentence, over unique words."""
    found, wanted = _sentences(reply), _sentences(reference)
    if not found or not wanted:
        return 0.0
    union: set[str] = set()
    for sentence in wanted:
        for other in found:
            union |= _common(sentence, other)
    precision = len(union) / len({word for sentence in found for word in sentence})
    recall = len(union) / len({word for sentence in wanted for word in sentence})
    return 2 * precision * recall / (precision + recall + 1e-8)


def _sentences(text: str) -> list[list[str]]:
    parts = (" ".join(part.split()).split(" ") for part in text.split("."))
    return [part for part in parts if part != [""]]


def _common(one: Sequence[str], other: Sequence[str]) -> set[str]:
    """Return the words of the longest common subsequence."""
    blocks = LCSseq.opcodes(one, other)
    return {word for block in blocks if block.tag == "equal" for word in one[block.src_start : block.src_end]}


def _ratio(one: str, other: str) -> float:
    """Return 2·m/n for a longest common subsequence of m of the n characters of both, in whole percents."""
    return round(100 * LCSseq.similarity(one, other) * 2 / (len(one) + len(other))) / 100 if one or other else 0.0


def _class(reply: str, reference: str, classes: Sequence[str]) -> float:
    named = [one for one in classes if one in reply]
    named = [one for one in named if one == reference or one not in reference]
    return 1 / len(named) if reference in named else 0.0


SCORERS: Mapping[str, Scorer] = {
    "contains_all": contains_all,
    "contains_any": contains_any,
    "word_f1": word_f1,
    "rouge_l": rouge_l,
    "chinese_word_f1": chinese_word_f1,
    "chinese_rouge_l": chinese_rouge_l,
    "edit_similarity": edit_similarity,
    "numbers": numbers_in_reply,
    "class": class_in_reply,
    "identifiers": identifiers_recall,
    "answer_contained": answer_contained,
    "answers_contained": answers_contained,
    "exact_answer": exact_answer,
    "choice": choice_letter,
}
