"""The command `compare`: training runs, or two evaluations."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from tyro.conf import Positional

from pipeline.evaluation.run import read_results
from pipeline.evaluation.summary import compare
from pipeline.evaluation.training_runs import (
    RunSummary,
    different_options,
    is_run,
    losses_by_step,
    read_run,
    summarize_run,
)
from pipeline.runtime.progress import output
from schemas.errors import UsageError
from schemas.printable import json_text


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare training runs, or two evaluations of the same suite.

    For training runs: steps, tokens, losses, speed, the losses by step, and the options that differ. For evaluations:
    the scores on the samples that both have, with a confidence interval of the difference.
    """

    folders: Positional[tuple[Path, ...]]
    """Two or more output folders of `longreel train`, or two of `longreel eval`."""
    json: bool = False
    """Print JSON instead of tables."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the comparison."""
        if len(self.folders) < 2:
            raise UsageError(f"give at least two folders to compare, got {len(self.folders)}")
        if all(map(is_run, self.folders)):
            self._compare_runs()
        elif len(self.folders) == 2:
            self._compare_evaluations()
        else:
            others = ", ".join(str(folder) for folder in self.folders if not is_run(folder))
            raise UsageError(f"more than two folders must all be of `longreel train`; these are not: {others}")

    def _compare_runs(self) -> None:
        names = _names(self.folders)
        rows = [read_run(folder) for folder in self.folders]
        summaries = [summarize_run(name, run) for name, run in zip(names, rows, strict=True)]
        losses, different = losses_by_step(rows), different_options(self.folders)
        if self.json:
            found = {
                "runs": [dataclasses.asdict(summary) for summary in summaries],
                "losses": [{"step": step, "losses": values} for step, values in losses],
                "options": dict(different),
            }
            print(json_text(found, indent=2))
            return
        console = output()
        console.print(_summary_table(summaries))
        console.print(_table("loss by step", names, [(f"{step:,}", map(_number, found)) for step, found in losses]))
        if different:
            console.print(_table("options that differ", names, different))

    def _compare_evaluations(self) -> None:
        rows = compare(*(read_results(folder) for folder in self.folders))
        if self.json:
            print(json_text(rows, indent=2))
            return
        table = Table("task", "samples", "first", "second", "difference", "95 % confidence")
        for row in rows:
            shown = [f"{100 * row[name]:.1f} %" for name in ("first", "second")]
            limits = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
            table.add_row(row["task"], str(row["samples"]), *shown, f"{100 * row['difference']:+.1f}", limits)
        output().print(table)


def _names(folders: tuple[Path, ...]) -> list[str]:
    """Return the names of the folders, with as many of their parents as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]  # a folder was given twice


def _summary_table(summaries: list[RunSummary]) -> Table:
    table = Table("run", "steps", "tokens", "train loss", "eval loss", "best eval loss", "tokens/s", "hours")
    for run in summaries:
        best = f"{_number(run.best_eval_loss)} at {run.best_step:,}" if run.best_step is not None else "-"
        speed = "-" if run.tokens_per_s is None else f"{run.tokens_per_s:,.0f}"
        losses = (_number(run.train_loss), _number(run.eval_loss), best)
        table.add_row(run.name, f"{run.steps:,}", f"{run.tokens:,}", *losses, speed, f"{run.hours:.2f}")
    return table


def _table(title: str, names: list[str], rows: Any) -> Table:
    table = Table(title.split()[-1] if title == "loss by step" else "option", *names, title=title)
    for first, values in rows:
        table.add_row(first, *values)
    return table


def _number(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"
