"""Beam: the only module that imports it. Short DoFns, labels, and nothing numerical.

Four shapes of job. `run_each` hands every element (a unit of work, or a shard to write: metadata of some hundred
bytes) to one call that reads its inputs, makes its output file and renames it into place; pixels and tokens never
become elements. `run_stages` does so several times over, `run_selection` regroups survey rows by content, `run_packing`
pieces of documents by shard.

The local default is FnApiRunner, named explicitly, with threads for workers: JAX is loaded and compiled once, and
a worker cannot be lost without the process. Any other runner comes through Beam's own options after `--`; its
workers must see the workspace's folder.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

import schemas.errors
from pipeline.runtime.interrupt import raise_if_stopping, stop_on_signals
from schemas.errors import ConfigError, InputError, JobError, LongreelError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Runner:
    """Where a job runs: `workers` local threads, or what `options` (Beam's own) say."""

    workers: int = 1
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers must be at least 1, got {self.workers}")


class Worker(Protocol):
    """What does the work of a job; sent to the workers by pickle, so it holds configuration only."""

    def open(self) -> AbstractContextManager[Callable[..., Any]]:
        """Load what the work needs; the context gives the function that is called with each element."""
        ...


class DoEach(beam.DoFn):
    """Opens a worker once, calls it with every element, closes it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._resources: ExitStack | None = None

    def setup(self) -> None:
        """Load models and start decoders; not in the constructor, which runs where the job is submitted."""
        self._resources = ExitStack()
        self._work = self._resources.enter_context(self._worker.open())

    def process(self, element: Any) -> Iterator[int]:
        """Do one element's work, and yield 1 for the count."""
        raise_if_stopping()
        self._work(element)
        yield 1

    def teardown(self) -> None:
        """Close what `setup` opened."""
        if self._resources is not None:
            self._resources.close()


class DoEachAfter(DoEach):
    """As DoEach, with a side input that is there when all of what comes before is done."""

    def process(self, element: Any, before: Any) -> Iterator[int]:  # type: ignore[override]
        """Do one element's work, and yield 1 for the count."""
        yield from super().process(element)


class SendEach(DoEach):
    """As DoEach with a side input, and what the worker's function yields goes on."""

    def process(self, element: Any, side: Any) -> Iterator[Any]:  # type: ignore[override]
        """Yield what one element gives."""
        raise_if_stopping()
        yield from self._work(element, side)


class DoEachWith(DoEach):
    """As DoEach, with a side input."""

    def process(self, element: Any, side: Any) -> Iterator[int]:  # type: ignore[override]
        """Do one element's work, and yield 1 for the count."""
        raise_if_stopping()
        self._work(element, side)
        yield 1


def each(elements: Sequence[Any], worker: Worker) -> beam.PTransform:
    """Create the elements, spread them over the workers and do each one's work, in one stage."""

    def expand(root: Any) -> Any:
        return root | "Elements" >> beam.Create(elements) | "Work" >> beam.ParDo(DoEach(worker))  # Create spreads them

    return beam.ptransform_fn(expand)()


def run_each(elements: Sequence[Any], worker: Worker, runner: Runner) -> None:
    """Run `worker` over all `elements`; raises the worker's own error where one fails."""
    _run(lambda pipeline: pipeline | "Each" >> each(elements, worker), runner)


def run_selection(
    units: Iterable[int],
    *,
    read: Callable[[int], Iterable[tuple[str, Row]]],
    judge: Callable[[Sequence[Row]], Iterable[tuple[int, Row]]],
    write: Callable[[int, Sequence[Row]], None],
    runner: Runner,
) -> None:
    """Read (content, row) from every unit, judge the rows of equal content together, write the new units."""

    def build(pipeline: beam.Pipeline) -> Any:
        return (
            pipeline
            | "Units" >> beam.Create(list(units))
            | "ReadSurvey" >> beam.FlatMap(read)
            | "SameContent" >> beam.GroupByKey()
            | "Judge" >> beam.FlatMap(lambda group: judge(list(group[1])))
            | "SameUnit" >> beam.GroupByKey()
            | "WriteSelection" >> beam.Map(lambda group: write(group[0], list(group[1])))
        )

    _run(build, runner)


class Stage(NamedTuple):
    """One stage of a job: elements, each the work of one call."""

    name: str
    elements: Iterable[Any]
    worker: Worker


def run_stages(stages: Sequence[Stage], runner: Runner) -> None:
    """Run one stage after the other, each when the one before it is done; what they make lies in files."""

    def build(pipeline: beam.Pipeline) -> Any:
        done: Any = None
        for name, elements, worker in stages:
            given = pipeline | f"{name}Elements" >> beam.Create(list(elements))
            work = beam.ParDo(DoEach(worker)) if done is None else beam.ParDo(DoEachAfter(worker), done)
            counted = given | name >> work | f"{name}Done" >> beam.CombineGlobally(sum)
            done = beam.pvalue.AsSingleton(counted)
        return done

    _run(build, runner)


def run_packing(starts: Sequence[Any], plan: Any, *, sender: Worker, writer: Worker, runner: Runner) -> None:
    """Send the pieces of every unit's documents to the shards they belong in, and write the shards.

    `sender` is called with (start, plan) and yields (shard, parcel); `writer` with ((shard, parcels), plan).
    """

    def build(pipeline: beam.Pipeline) -> Any:
        side = beam.pvalue.AsSingleton(pipeline | "Plan" >> beam.Create([plan]))
        return (
            pipeline
            | "Units" >> beam.Create(list(starts))
            | "Assign" >> beam.ParDo(SendEach(sender), side)
            | "SameShard" >> beam.GroupByKey()
            | "WriteShard" >> beam.ParDo(DoEachWith(writer), side)
        )

    _run(build, runner)


def _run(build: Callable[[beam.Pipeline], Any], runner: Runner) -> None:
    options, local = _options(runner)
    if local:  # it logs a failing element's traceback, which we tell ourselves, and advice about DirectRunner
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    try:
        pipeline = beam.Pipeline(runner=FnApiRunner() if local else None, options=options)
    except (ValueError, ImportError, AttributeError) as e:  # what Beam raises for a runner that is not there
        raise ConfigError(f"Beam cannot start with {' '.join(runner.options)}: {e}") from e
    with stop_on_signals():
        try:
            build(pipeline)
            result = pipeline.run()
            state = result.wait_until_finish()
        except Exception as e:  # Beam raises whatever the runner does; the cause is kept
            raise_if_stopping()
            raise _own_error(e) from e
        raise_if_stopping()  # a request that came with the last element
        if not local and state not in (None, "DONE"):
            raise JobError(f"the Beam job ended as {state}; see the runner's log. Finished units are kept.")


def _options(runner: Runner) -> tuple[PipelineOptions, bool]:
    options = PipelineOptions(list(runner.options))
    if options.view_as(StandardOptions).runner is not None:
        return options, False
    known, given = options.get_all_options(), options.get_all_options(retain_unknown_options=True)
    if unknown := sorted(given.keys() - known.keys()):
        raise ConfigError(f"Beam's local runner knows no option --{', --'.join(unknown)}; another needs --runner=NAME")
    mode = "in_memory" if runner.workers == 1 else "multi_threading"
    flags = [f"--direct_num_workers={runner.workers}", f"--direct_running_mode={mode}", *runner.options]
    return PipelineOptions(flags), True


_OWN_ERROR = re.compile(r"schemas\.errors\.(\w+): (.*?)(?= \[while running|\n\n|\Z)", re.DOTALL)


def _own_error(error: Exception) -> LongreelError:
    """Find our own error again: Beam adds to its text, or hands on the worker's traceback as text only."""
    text = "".join(traceback.format_exception(error))
    for name, message in reversed(_OWN_ERROR.findall(text)):
        kind = getattr(schemas.errors, name, None)
        if isinstance(kind, type) and issubclass(kind, LongreelError) and not issubclass(kind, InputError):
            return kind(message.strip())
    return JobError(f"a worker failed, and should not have; please report this:\n{text}")
