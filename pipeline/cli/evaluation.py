"""The commands `eval needle`, `eval ruler` and `eval compare`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from rich.console import Console
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional, arg

from pipeline.evaluation.haystack import Budget, Haystack
from pipeline.evaluation.needles import NeedleConfig, needle_samples
from pipeline.evaluation.report import PAGE
from pipeline.evaluation.ruler.samples import RulerConfig, ruler_samples
from pipeline.evaluation.run import read_results, run_suite
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.summary import compare
from pipeline.language_models.endpoint import Endpoint, EndpointConfig
from pipeline.text.books import BookConfig, load_book
from schemas.errors import ConfigError
from schemas.printable import json_text, printable
from schemas.storage.option import Address
from tokenizer.text.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model that is evaluated, and its tokens."""

    endpoint: str
    """Address of a server with OpenAI's interface that serves the model, for example http://127.0.0.1:8080/v1"""
    server: Annotated[EndpointConfig, OmitArgPrefixes] = field(default_factory=EndpointConfig)
    text_tokenizer: Address
    """Text tokenizer of the model: a tokenizer.json, .model or .gguf file, or the folder of a published model."""
    template_tokens: int = 64
    """Tokens that the server's chat template adds to a prompt, counted as part of the context length."""
    concurrency: int = 4
    """Requests at a time."""

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.template_tokens < 0:
            raise ConfigError("concurrency must be at least 1 and template_tokens at least 0")

    def budget(self, length: int) -> Budget:
        """Return the budget of a prompt in the ids of the model."""
        return Budget(TextTokenizer.load(self.text_tokenizer), length, 1, self.template_tokens)


@dataclass(frozen=True, kw_only=True)
class EvalNeedle:
    """Hide facts about cities in a long text and ask for them, at several context lengths and depths.

    The protocol of LWM, with lengths and depths in the model's own tokens. OUT/report.html shows the scores by length
    and depth; the same command continues an interrupted evaluation.
    """

    RECORD: ClassVar = "out"

    out: Path
    """Folder for the results."""
    haystack: tuple[Path, ...]
    """Books or text files that the facts are hidden in, together at least as long as the longest context."""
    needle: Annotated[NeedleConfig, OmitArgPrefixes] = field(default_factory=NeedleConfig)
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print the scores."""
        budget = self.subject.budget(max(self.needle.lengths))
        haystack = Haystack(_text(self.haystack), budget.tokenizer)
        total = len(self.needle.lengths) * self.needle.depths * self.needle.rounds
        _evaluate("needle", needle_samples(self.needle, haystack, budget), total, self.subject, self.out, self.needle)


@dataclass(frozen=True, kw_only=True)
class EvalRuler:
    """Measure RULER's eleven synthetic tasks: retrieval, variable tracking, and counts of words."""

    RECORD: ClassVar = "out"

    out: Path
    """Folder for the results."""
    haystack: tuple[Path, ...] = ()
    """Books or text files that facts are hidden in, for the tasks that hide them in text."""
    ruler: Annotated[RulerConfig, OmitArgPrefixes] = field(default_factory=RulerConfig)
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print the scores."""
        budget = self.subject.budget(max(self.ruler.lengths))
        haystack = Haystack(_text(self.haystack), budget.tokenizer) if self.haystack else None
        total = len(self.ruler.tasks) * len(self.ruler.lengths) * self.ruler.samples
        _evaluate("ruler", ruler_samples(self.ruler, haystack, budget), total, self.subject, self.out, self.ruler)


@dataclass(frozen=True, kw_only=True)
class EvalCompare:
    """Compare two evaluations of the same suite, sample by sample, with a confidence interval of the difference."""

    first: Positional[Path]
    """Folder of the first evaluation."""
    second: Positional[Path]
    """Folder of the second evaluation."""
    json: bool = False
    """Print JSON instead of a table."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the comparison."""
        rows = compare(read_results(self.first), read_results(self.second))
        if self.json:
            print(json_text(rows, indent=2))
            return
        table = Table("task", "samples", "first", "second", "difference", "95 % confidence")
        for row in rows:
            shown = [f"{100 * row[name]:.1f} %" for name in ("first", "second")]
            limits = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
            table.add_row(
                printable(row["task"]), str(row["samples"]), *shown, f"{100 * row['difference']:+.1f}", limits
            )
        Console().print(table)


def _evaluate(suite: str, samples: Iterator[Sample], total: int, subject: Subject, out: Path, config: Any) -> None:
    def show(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\reval {suite}: {done} of {total} samples", end="\n" if done == total else "", file=sys.stderr)

    model = Endpoint(subject.endpoint, subject.server)
    options = {name: _plain(value) for name, value in dataclasses.asdict(config).items()}
    summary = run_suite(suite, samples, model, out, concurrency=subject.concurrency, options=options, progress=show)
    table = Table("task", "score", "95 % confidence", "samples", "refused")
    for row in [*summary["tasks"], {"task": "all", **summary["all"]}]:
        limits = f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %"
        table.add_row(
            printable(row["task"]), f"{100 * row['score']:.1f} %", limits, str(row["samples"]), str(row["refused"])
        )
    Console().print(table)
    print(printable(f"eval {suite}: {out / PAGE}"), file=sys.stderr)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _text(paths: tuple[Path, ...]) -> str:
    """Return the clean text of books. Raises InputError for a file that is not readable text."""
    return "\n\n".join(load_book(path, BookConfig()).text for path in paths)
