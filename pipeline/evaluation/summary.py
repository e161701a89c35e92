"""Mean scores with confidence intervals: of each task, and of each task by length and depth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pipeline.evaluation.intervals import bootstrap_limits, interval
from pipeline.evaluation.sample import Result
from schemas.counted import counted
from schemas.errors import ConfigError


def summarize(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures of all results, as values of JSON."""
    tasks = _grouped(results, lambda result: result.task)
    return {
        "all": _figures(results),
        "tasks": [{"task": task, **_figures(found)} for task, found in tasks.items()],
        "cells": [
            {"task": task, "length": length, "depth": depth, **_figures(cell)}
            for task, found in tasks.items()
            for (length, depth), cell in _grouped(found, lambda result: (result.length, result.depth)).items()
        ],
    }


def compare(one: Sequence[Result], other: Sequence[Result]) -> list[dict[str, Any]]:
    """Return, for each task and for all, the mean scores of two models on the same samples and their difference.

    The interval of the difference is that of a bootstrap over pairs. Raises ConfigError if no sample is in both.
    """
    theirs = {result.id: result for result in other}
    pairs = [(result, theirs[result.id]) for result in one if result.id in theirs]
    if not pairs:
        raise ConfigError("the two evaluations have no sample in common: run the same suite with the same options")
    if changed := [mine.id for mine, their in pairs if mine.references != their.references]:
        raise ConfigError(
            f"the answers of {counted(len(changed), 'sample')} differ in the second evaluation (the first is "
            f"{changed[0]}): run both with the same seed and texts"
        )
    groups = {"all": pairs, **_grouped(pairs, lambda pair: pair[0].task)}
    return [_difference(task, found) for task, found in groups.items()]


def _difference(task: str, pairs: Sequence[tuple[Result, Result]]) -> dict[str, Any]:
    differences = [their.score - mine.score for mine, their in pairs]
    low, high = bootstrap_limits(differences)
    count = len(pairs)
    return {
        "task": task,
        "samples": count,
        "first": sum(mine.score for mine, _ in pairs) / count,
        "second": sum(their.score for _, their in pairs) / count,
        "difference": sum(differences) / count,
        "low": low,
        "high": high,
    }


def _figures(results: Sequence[Result]) -> dict[str, Any]:
    mean, low, high = interval([result.score for result in results])
    refused = sum(result.refused is not None for result in results)
    return {"score": mean, "low": low, "high": high, "samples": len(results), "refused": refused}


def _grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> Mapping[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
