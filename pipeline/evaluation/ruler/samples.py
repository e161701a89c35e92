"""The samples of RULER's tasks at given lengths."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.evaluation.fitting import fit
from pipeline.evaluation.haystack import Budget, Haystack
from pipeline.evaluation.ruler.retrieval import Retrieval
from pipeline.evaluation.ruler.task import Material, Question, Task
from pipeline.evaluation.ruler.variables import VariableTracking
from pipeline.evaluation.ruler.word_counts import CommonWords, FrequentWords
from pipeline.evaluation.sample import Sample
from pipeline.language_models.chat import user_request
from schemas.errors import ConfigError

TASKS: Mapping[str, Task] = {
    "niah_single_1": Retrieval(context="filler"),
    "niah_single_2": Retrieval(context="text"),
    "niah_single_3": Retrieval(context="text", value_kind="uuids"),
    "niah_multikey_1": Retrieval(context="text", keys=4),
    "niah_multikey_2": Retrieval(context="facts"),
    "niah_multikey_3": Retrieval(context="facts", key_kind="uuids", value_kind="uuids"),
    "niah_multivalue": Retrieval(context="text", values=4),
    "niah_multiquery": Retrieval(context="text", keys=4, queries=4),
    "vt": VariableTracking(),
    "cwe": CommonWords(),
    "fwe": FrequentWords(),
}


@dataclass(frozen=True, kw_only=True)
class RulerConfig:
    """Which tasks are measured at which lengths."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """RULER's names of tasks."""
    lengths: tuple[int, ...] = (4096,)
    """Context lengths in tokens of the model, including the question and the reply."""
    samples: int = 10
    """Samples for each task and length. RULER takes 500."""
    seed: int = 0
    """Random seed of the samples."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.tasks if name not in TASKS]:
            raise ConfigError(f"unknown tasks {', '.join(unknown)}; known are {', '.join(TASKS)}")
        if self.samples < 1 or not self.lengths or min(self.lengths) < 1:
            raise ConfigError("samples and lengths must be at least 1")


def ruler_samples(config: RulerConfig, haystack: Haystack | None, budget: Budget) -> Iterator[Sample]:
    """Yield the samples, by task and length. Raises ConfigError if a length is too short, or a text missing."""
    for name in config.tasks:
        task = TASKS[name]
        if task.needs_haystack and haystack is None:
            raise ConfigError(f"the task {name} needs a text; give one with --haystack, or choose other --tasks")
        for length in config.lengths:
            at_length = Budget(budget.tokenizer, length, task.reply_tokens, budget.template_tokens)
            for number in range(config.samples):
                place = f"{name}/{length}/{number}"
                question = _question(task, f"{config.seed}/{place}", Material(haystack, length), at_length)
                yield Sample(
                    id=place,
                    task=name,
                    request=user_request(question.prompt, max_tokens=task.reply_tokens),
                    references=question.answers,
                    scorer="contains_all",
                    length=length,
                )


def _question(task: Task, seed: str, material: Material, budget: Budget) -> Question:
    def make(size: int) -> Question:
        return task.make(size, random.Random(seed), material)

    first = task.first_size(budget.prompt_tokens)
    return fit(make, lambda question: question.prompt, budget, first=first)
