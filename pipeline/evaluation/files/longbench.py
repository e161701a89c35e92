"""LongBench (arXiv 2308.14508): questions about long documents, from its files `TASK.jsonl`.

Scores and numbers of reply tokens are LongBench's; the wording is our own. A document that is too long loses its
middle, as there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.evaluation.files.rows import Row, read_rows
from pipeline.evaluation.haystack import Budget
from pipeline.evaluation.sample import Sample
from pipeline.language_models.chat import user_request
from schemas.errors import ConfigError

_ANSWER = "Answer the question about the text below in as few words as possible, without explanations."
_ANSWER_IN_CHINESE = f"{_ANSWER} Answer in Chinese."
_SUMMARY = "Write a summary of the text below in one page or less."
_PARAGRAPH = "Below are numbered paragraphs and a summary of one of them. Name that paragraph, as in 'Paragraph 1'."
_CODE = "Continue the code below with its next line only."


@dataclass(frozen=True)
class _Task:
    instruction: str
    scorer: str
    reply_tokens: int
    first_line: bool = False  # what follows the first line of a reply does not count


_TASKS = {
    "narrativeqa": _Task(_ANSWER, "word_f1", 128),
    "qasper": _Task(_ANSWER, "word_f1", 128),
    "multifieldqa_en": _Task(_ANSWER, "word_f1", 64),
    "multifieldqa_zh": _Task(_ANSWER_IN_CHINESE, "chinese_word_f1", 64),
    "dureader": _Task(_ANSWER_IN_CHINESE, "chinese_rouge_l", 128),
    "hotpotqa": _Task(_ANSWER, "word_f1", 32),
    "2wikimqa": _Task(_ANSWER, "word_f1", 32),
    "musique": _Task(_ANSWER, "word_f1", 32),
    "triviaqa": _Task(_ANSWER, "word_f1", 32, first_line=True),
    "gov_report": _Task(_SUMMARY, "rouge_l", 512),
    "qmsum": _Task("Answer the question about the meeting below in a few sentences.", "rouge_l", 512),
    "multi_news": _Task(_SUMMARY, "rouge_l", 512),
    "vcsum": _Task(f"{_SUMMARY} Write it in Chinese.", "chinese_rouge_l", 512),
    "samsum": _Task("Summarize the last dialogue below, like the examples before it.", "rouge_l", 128, first_line=True),
    "trec": _Task("Name the type of the question at the end, as in the examples.", "class", 64, first_line=True),
    "lsht": _Task("Name the class of the news at the end, as in the examples.", "class", 64, first_line=True),
    "passage_count": _Task("How many different paragraphs are below? Answer with the number only.", "numbers", 32),
    "passage_retrieval_en": _Task(_PARAGRAPH, "numbers", 32),
    "passage_retrieval_zh": _Task(_PARAGRAPH, "numbers", 32),
    "lcc": _Task(_CODE, "edit_similarity", 64),
    "repobench-p": _Task(_CODE, "edit_similarity", 64),
}


def longbench_samples(paths: Sequence[Path], budget: Budget, *, limit: int | None = None) -> Iterator[Sample]:
    """Yield the samples of LongBench's files, at most `limit` of each. Raises ConfigError for a file that is none."""
    for path in paths:
        for number, row in enumerate(islice(read_rows(path, ("context", "answers", "dataset")), limit)):
            yield _sample(row, budget, f"{path.stem}/{number}")


def _sample(row: Row, budget: Budget, name: str) -> Sample:
    task = _task_of(str(row["dataset"]).removesuffix("_e"))
    room = Budget(budget.tokenizer, budget.length, task.reply_tokens, budget.template_tokens)
    question = str(row.get("input") or "")
    asked = f"\n\n{question}" if question else ""
    context = _shortened(str(row["context"]), room, room.count(f"{task.instruction}\n\n{asked}"))
    return Sample(
        id=name,
        task=str(row["dataset"]),
        request=user_request(f"{task.instruction}\n\n{context}{asked}", max_tokens=task.reply_tokens),
        references=tuple(map(str, row["answers"])),
        scorer=task.scorer,
        facts={"classes": list(row.get("all_classes") or ()), "first_line": task.first_line},
    )


def _task_of(name: str) -> _Task:
    if name not in _TASKS:
        raise ConfigError(f"unknown task {name!r} of LongBench; known are {', '.join(_TASKS)}")
    return _TASKS[name]


def _shortened(text: str, budget: Budget, used: int) -> str:
    """Return the text, without its middle if it has more tokens than the budget leaves."""
    left = budget.prompt_tokens - used - 2  # the halves may have other tokens where they meet
    if left < 2:
        raise ConfigError(f"a length of {budget.length} leaves no room for a text: give a larger --length")
    ids = budget.tokenizer.encode(text)
    if len(ids) <= left:
        return text
    half = left // 2
    return budget.tokenizer.decode(ids[:half]) + budget.tokenizer.decode(ids[-half:])
