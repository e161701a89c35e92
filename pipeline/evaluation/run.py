"""Asks a model all samples of a suite, several at a time, and keeps what it replies.

    samples ──► model (cached) ──► score ──► OUT/results.jsonl, summary.json, report.html, heat map

Interrupted at any moment, the same command continues: replies are kept one by one in OUT/replies.jsonl. A request that
the model refuses scores 0 and is counted; a model that cannot be reached ends the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from operator import itemgetter
from pathlib import Path
from typing import Any

from pipeline.evaluation.report import write_report
from pipeline.evaluation.sample import Result, Sample
from pipeline.evaluation.scorers import score
from pipeline.evaluation.summary import summarize
from pipeline.language_models.cached import CachedModel
from pipeline.language_models.chat import ChatModel, Reply, RequestRefused
from pipeline.language_models.parallel import in_parallel
from schemas.errors import ConfigError
from schemas.files import write_json, write_text
from schemas.runs.folder_lock import locked_folder

RESULTS, SUMMARY, REPLIES = "results.jsonl", "summary.json", "replies.jsonl"


def run_suite(
    suite: str,
    samples: Iterable[Sample],
    model: ChatModel,
    out: Path,
    *,
    concurrency: int = 1,
    options: dict[str, Any] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Ask every sample, write the results to `out`, and return the summary.

    Raises ConfigError if the suite is empty or `out` holds another suite; JobError if the model cannot be reached.
    """
    with locked_folder(out):
        return _run(model, suite, samples, out, concurrency, options or {}, progress)


def _run(
    model: ChatModel,
    suite: str,
    samples: Iterable[Sample],
    out: Path,
    concurrency: int,
    options: dict[str, Any],
    progress: Callable[[int], None],
) -> dict[str, Any]:
    kept = CachedModel(model, out / REPLIES)
    answers = in_parallel(lambda sample: answer(sample, kept), samples, concurrency=concurrency, progress=progress)
    results = [result for _, result in sorted(answers, key=itemgetter(0))]
    if not results:
        raise ConfigError(f"the suite {suite} has no samples with these options")
    write_text(out / RESULTS, "".join(json.dumps(result.to_dict()) + "\n" for result in results))
    summary = {"suite": suite, "model": model.name, "options": options, **summarize(results)}
    write_json(out / SUMMARY, summary)
    write_report(out, summary)
    return summary


def read_results(out: Path) -> list[Result]:
    """Return the results in a folder. Raises ConfigError if there are none."""
    path = out / RESULTS
    try:
        return [Result.from_dict(json.loads(line)) for line in path.read_text().splitlines()]
    except FileNotFoundError as e:
        raise ConfigError(f"{out} has no results of `longreel eval`: {RESULTS} is missing") from e
    except (ValueError, KeyError, TypeError) as e:
        raise ConfigError(f"{path} is damaged: {e}; run the evaluation again, the replies are kept") from e


def answer(sample: Sample, model: ChatModel) -> Result:
    """Return what the model replies to a sample, with its score."""
    try:
        if sample.choices:
            logprobs = model.choose(sample.request, sample.choices)
            best = sample.choices[logprobs.index(max(logprobs))] if max(logprobs) > -float("inf") else ""
            reply = Reply(text=best, finish_reason="choice")
        else:
            reply = model.ask(sample.request)
    except RequestRefused as e:
        return _result(sample, 0.0, Reply(text="", finish_reason="refused"), str(e))
    return _result(sample, score(sample.scorer, reply.text, sample.references, sample.facts), reply, None)


def _result(sample: Sample, points: float, reply: Reply, refused: str | None) -> Result:
    return Result(
        id=sample.id,
        task=sample.task,
        score=points,
        reply=reply.text,
        references=sample.references,
        length=sample.length,
        depth=sample.depth,
        prompt_tokens=reply.prompt_tokens,
        finish_reason=reply.finish_reason,
        refused=refused,
    )
