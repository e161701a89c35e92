"""The commands `longreel eval SUITE` for models that answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from rich.console import Console
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional, arg

from pipeline.evaluation.files.loft import loft_samples
from pipeline.evaluation.files.longbench import longbench_samples
from pipeline.evaluation.files.video_choices import mvbench_samples, video_mme_samples
from pipeline.evaluation.haystack import Budget, Haystack
from pipeline.evaluation.needles import NeedleConfig, needle_samples
from pipeline.evaluation.report import PAGE
from pipeline.evaluation.ruler.samples import RulerConfig, ruler_samples
from pipeline.evaluation.run import run_suite
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.visual_needle import VisualNeedleConfig, visual_needle_samples
from pipeline.inference.config import LocalConfig
from pipeline.language_models.chat import ChatModel
from pipeline.language_models.endpoint import Endpoint, EndpointConfig
from pipeline.text.books import BookConfig, load_book
from schemas.errors import ConfigError, UsageError
from schemas.printable import printable
from schemas.record_errors import record_errors
from schemas.runs.count_progress import CountProgress
from schemas.runs.messages import messages
from schemas.storage.option import Address, NewFolder
from tokenizer.text.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model that is evaluated."""

    endpoint: str | None = None
    """Address of a server with OpenAI's interface that serves the model, for example http://127.0.0.1:8080/v1"""
    model: Address | None = None
    """Instead of a server: output folder of `longreel train` or `longreel import-model`."""
    local: Annotated[LocalConfig, OmitArgPrefixes] = field(default_factory=LocalConfig)
    server: Annotated[EndpointConfig, OmitArgPrefixes] = field(default_factory=EndpointConfig)
    concurrency: int = 4
    """Requests at a time."""
    out: NewFolder
    """Folder for the results."""

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, got {self.concurrency}")

    def load(self) -> ChatModel:
        """Return the model. Raises UsageError unless either a server or a run is named."""
        if self.endpoint is not None and self.model is None:
            return Endpoint(self.endpoint, self.server)
        if self.endpoint is not None or self.model is None:
            raise UsageError("give either --endpoint, the address of a server, or --model, the folder of a run")
        from pipeline.inference.local_model import LocalModel

        return LocalModel.load(self.model, self.local)

    def evaluate(self, suite: str, samples: Iterator[Sample], options: Any, *, total: int | None = None) -> None:
        """Ask, and print the scores."""
        model, count = self.load(), CountProgress(f"eval {suite}", total, "samples")
        summary = run_suite(
            suite,
            samples,
            model,
            self.out,
            concurrency=self.concurrency,
            options=options,
            progress=count.show,
        )
        count.close(summary["all"]["samples"])
        _print(summary)
        messages.info(f"eval {suite}: {self.out / PAGE}")


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """How lengths are counted."""

    text_tokenizer: Address | None = None
    """Text tokenizer of the model that `--endpoint` serves: a tokenizer.json, .model or .gguf file, or the folder of a
    published model. Default with `--model`: that of the model."""
    template_tokens: int = 64
    """Tokens that the server's chat template adds to a prompt, counted as part of the context length."""

    def __post_init__(self) -> None:
        if self.template_tokens < 0:
            raise ConfigError(f"template_tokens must be at least 0, got {self.template_tokens}")

    def budget(self, length: int, subject: Subject) -> Budget:
        """Return the budget of a prompt in the ids of the model. Raises UsageError if its tokenizer is not known."""
        if self.text_tokenizer is not None:
            tokenizer = TextTokenizer.load(self.text_tokenizer)
        elif subject.model is not None:
            from pipeline.inference.loading import load_tokenizer

            tokenizer = load_tokenizer(subject.model)
        else:
            raise UsageError("--endpoint needs --text-tokenizer, the text tokenizer of the model that it serves")
        return Budget(tokenizer, length, 1, self.template_tokens)


@dataclass(frozen=True, kw_only=True)
class EvalNeedle:
    """Hide facts about cities in a long text and ask for them, at several context lengths and depths.

    The protocol of LWM, with lengths and depths in the model's own tokens. OUT/report.html shows the scores by length
    and depth; the same command continues an interrupted evaluation.
    """

    RECORD: ClassVar = "out"

    haystack: tuple[Path, ...]
    """Books or text files that the facts are hidden in, together at least as long as the longest context."""
    needle: Annotated[NeedleConfig, OmitArgPrefixes] = field(default_factory=NeedleConfig)
    tokens: Annotated[Tokens, arg(name="")] = field(default_factory=Tokens)
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print the scores."""
        budget = self.tokens.budget(max(self.needle.lengths), self.subject)
        haystack = Haystack(text_of(self.haystack), budget.tokenizer)
        total = len(self.needle.lengths) * self.needle.depths * self.needle.rounds
        samples = needle_samples(self.needle, haystack, budget)
        self.subject.evaluate("needle", samples, _options(self.needle), total=total)


@dataclass(frozen=True, kw_only=True)
class EvalRuler:
    """Measure RULER's eleven synthetic tasks: retrieval, variable tracking, and counts of words."""

    RECORD: ClassVar = "out"

    haystack: tuple[Path, ...] = ()
    """Books or text files that facts are hidden in, for the tasks that hide them in text."""
    ruler: Annotated[RulerConfig, OmitArgPrefixes] = field(default_factory=RulerConfig)
    tokens: Annotated[Tokens, arg(name="")] = field(default_factory=Tokens)
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print the scores."""
        budget = self.tokens.budget(max(self.ruler.lengths), self.subject)
        haystack = Haystack(text_of(self.haystack), budget.tokenizer) if self.haystack else None
        total = len(self.ruler.tasks) * len(self.ruler.lengths) * self.ruler.samples
        self.subject.evaluate("ruler", ruler_samples(self.ruler, haystack, budget), _options(self.ruler), total=total)


@dataclass(frozen=True, kw_only=True)
class EvalVisualNeedle:
    """Hide a picture of a colored shape among the frames of a long video, and ask what it shows.

    The videos are written to OUT/videos. The server has to understand `video_url`.
    """

    RECORD: ClassVar = "out"

    video: Path
    """A video that is at least as many seconds long as the longest one has frames."""
    needle: Annotated[VisualNeedleConfig, OmitArgPrefixes] = field(default_factory=VisualNeedleConfig)
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print the scores."""
        samples = visual_needle_samples(self.needle, self.video, self.subject.out / "videos")
        total = len(self.needle.frames) * self.needle.depths * self.needle.rounds
        self.subject.evaluate("visual-needle", samples, _options(self.needle), total=total)


@dataclass(frozen=True, kw_only=True)
class EvalLongBench:
    """Ask the questions of LongBench's files."""

    RECORD: ClassVar = "out"

    files: Positional[tuple[Path, ...]]
    """Files of LongBench, such as hotpotqa.jsonl; a file for each task."""
    length: int = 32768
    """Context length in tokens, with the question and the reply; longer documents lose their middle."""
    limit: int | None = None
    """Maximum number of questions of each file. Default: all."""
    tokens: Annotated[Tokens, arg(name="")] = field(default_factory=Tokens)
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print the scores."""
        samples = longbench_samples(self.files, self.tokens.budget(self.length, self.subject), limit=self.limit)
        self.subject.evaluate("longbench", samples, {"length": self.length, "limit": self.limit})


@dataclass(frozen=True, kw_only=True)
class EvalLoft:
    """Ask the questions of a folder of LOFT, with its corpus in the context."""

    RECORD: ClassVar = "out"

    folder: Positional[Path]
    """A folder with corpus.jsonl and queries, such as data/retrieval/nq/128k."""
    queries: str = "test_queries.jsonl"
    """Name of the file with the queries."""
    limit: int | None = None
    """Maximum number of questions. Default: all."""
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print the scores."""
        samples = loft_samples(self.folder, self.queries, limit=self.limit)
        self.subject.evaluate("loft", samples, {"queries": self.queries, "limit": self.limit})


@dataclass(frozen=True, kw_only=True)
class EvalMvbench:
    """Ask MVBench's multiple-choice questions about short videos.

    Parts of videos that questions are about are written to OUT/videos.
    """

    RECORD: ClassVar = "out"

    files: Positional[tuple[Path, ...]]
    """Files of MVBench, such as action_antonym.json; a file for each task."""
    videos: Path
    """Folder with the videos."""
    limit: int | None = None
    """Maximum number of questions of each file. Default: all."""
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print the scores."""
        samples = mvbench_samples(self.files, self.videos, parts=self.subject.out / "videos", limit=self.limit)
        self.subject.evaluate("mvbench", samples, {"limit": self.limit})


@dataclass(frozen=True, kw_only=True)
class EvalVideoMme:
    """Ask Video-MME's multiple-choice questions about videos of all lengths."""

    RECORD: ClassVar = "out"

    file: Positional[Path]
    """The file of Video-MME with the questions (Parquet, JSON or JSON lines)."""
    videos: Path
    """Folder with the videos, named by their videoID."""
    limit: int | None = None
    """Maximum number of questions. Default: all."""
    subject: Annotated[Subject, arg(name="")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print the scores."""
        samples = video_mme_samples(self.file, self.videos, limit=self.limit)
        self.subject.evaluate("video-mme", samples, {"limit": self.limit})


def _print(summary: Mapping[str, Any]) -> None:
    table = Table("task", "score", "95 % confidence", "samples", "refused")
    for row in [*summary["tasks"], {"task": "all", **summary["all"]}]:
        limits = f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %"
        shown = [f"{100 * row['score']:.1f} %", limits, str(row["samples"]), str(row["refused"])]
        table.add_row(printable(row["task"]), *shown)
    Console().print(table)


def _options(config: Any) -> dict[str, Any]:
    values = dataclasses.asdict(config).items()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


def text_of(paths: tuple[Path, ...]) -> str:
    """Return the clean text of books. Raises InputError for a file that is not readable text."""
    return "\n\n".join(map(_text_of, paths))


def _text_of(path: Path) -> str:
    with record_errors(str(path)):
        return load_book(path, BookConfig()).text
