"""Options of the commands that run one stage each: survey, select, tokenize, pack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from tyro.conf import UseAppendAction

from pipeline.cli.place import FLAT, Inputs, Place
from pipeline.cli.settings import configured
from pipeline.dedup.config import DedupConfig
from pipeline.dedup.job import dedup_items
from pipeline.packing.config import PackConfig, require_context
from pipeline.packing.curriculum import read_curriculum
from pipeline.packing.job import Stage, pack
from pipeline.reports.data_card import write_data_cards
from pipeline.reports.dry_run import dry_run_report
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.progress import output
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.quarantine import write_quarantine
from pipeline.sources.access import AccessConfig
from pipeline.sources.credentials import require_no_credentials
from pipeline.sources.item_defaults import ItemDefaults
from pipeline.survey.absence import AbsenceConfig
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.text.books import BookConfig
from pipeline.text.qa import QaConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.job import tokenize_items
from pipeline.tokenize.text_tokenizer import text_tokenizer_of
from pipeline.video.decoder import DecodeConfig
from schemas.errors import ConfigError, UsageError
from schemas.runs.messages import messages
from schemas.storage.option import Address


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Measure every item: hashes, container facts, statistics of sampled frames and text, and fingerprints that find
    near-duplicates. Nothing is decoded in full or encoded."""

    SETTINGS: ClassVar = {
        "defaults": ("inputs",),
        "access": ("access",),
        "survey": ("survey",),
        "decode": ("decode",),
        "books": ("books",),
        "qa": ("qa",),
    }

    inputs: Inputs
    """Folders of videos, images, books and question-answer documents; single files; or manifests (.parquet, .jsonl,
    .csv)."""
    place: Annotated[Place, FLAT]
    units: int | None = None
    """Number of units that the work is divided into: the granularity of resume and of parallel work. The workspace
    keeps it; a multiple divides the units. Default: chosen from the number of items, and grows with it."""
    retry: bool = False
    """Process items again that an earlier survey rejected."""
    defaults: Annotated[ItemDefaults, FLAT] = field(default_factory=ItemDefaults)
    absence: Annotated[AbsenceConfig, FLAT] = field(default_factory=AbsenceConfig)
    access: Annotated[AccessConfig, FLAT] = field(default_factory=AccessConfig)
    survey: SurveyConfig = field(default_factory=SurveyConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)

    def __post_init__(self) -> None:
        require_no_credentials(self.inputs)  # before they are recorded

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the stage."""
        workspace = Workspace.open(self.place.out, units=self.units)
        with configured(workspace, "survey", self, reconfigure=self.place.reconfigure):
            worker = SurveyWorker(
                workspace=workspace,
                config=self.survey,
                decode=self.decode,
                books=self.books,
                qa=self.qa,
                access=self.access,
                retry=self.retry,
            )
            runner = self.place.runner(options)
            print_report(survey_items(self.inputs, workspace, worker, runner, self.defaults, self.absence, self.units))


@dataclass(frozen=True, kw_only=True)
class Select:
    """Find near-duplicates, reject unusable and duplicate items, and assign the others to the splits."""

    SETTINGS: ClassVar = {"dedup": ("dedup",), "select": ("select",)}

    place: Annotated[Place, FLAT]
    dry_run: bool = False
    """Print what these options would keep, next to the present selection, and change nothing."""
    dedup: DedupConfig = field(default_factory=DedupConfig)
    select: Annotated[SelectConfig, FLAT] = field(default_factory=SelectConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the jobs dedup and select."""
        workspace = Workspace.existing(self.place.out)
        if self.dry_run:
            out = output()
            for part in dry_run_report(workspace, self.select):
                out.print(part)
            return
        with configured(workspace, "select", self, reconfigure=self.place.reconfigure):
            runner = self.place.runner(options)
            print_report(dedup_items(workspace, self.dedup, runner))
            print_report(select_items(workspace, self.select, runner))
            write_quarantine(workspace)


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Decode and encode every selected item, once. An interrupted command resumes."""

    SETTINGS: ClassVar = {"access": ("access",), "tokenize": ()}

    place: Annotated[Place, FLAT]
    text_tokenizer: Address | None = None
    """A text tokenizer: a SentencePiece .model, a tokenizer.json, the folder of a published model, or a .gguf file.
    Default: the workspace's, which is trained on its texts the first time."""
    retry: bool = False
    """Process items again that an earlier command rejected."""
    access: Annotated[AccessConfig, FLAT] = field(default_factory=AccessConfig)
    tokenize: Annotated[TokenizeConfig, FLAT] = field(default_factory=TokenizeConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the stage."""
        workspace = Workspace.existing(self.place.out)
        again = self.place.reconfigure
        with configured(workspace, "tokenize", self, text_tokenizer=self.text_tokenizer, reconfigure=again):
            text = text_tokenizer_of(workspace, self.text_tokenizer, self.tokenize, self.access)
            runner = self.place.runner(options)
            report = tokenize_items(workspace, self.tokenize, text, runner, retry=self.retry, access=self.access)
            print_report(report)
            write_quarantine(workspace)


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Pack the tokens into sequences of one or more context lengths: shards, index, ledger and dataset card."""

    SETTINGS: ClassVar = {"pack": ("pack",)}

    place: Annotated[Place, FLAT]
    context: UseAppendAction[tuple[int, ...]] = ()
    """Tokens per sequence. Repeat the option to pack several datasets."""
    curriculum: str | None = None
    """A TOML file that describes all stages of a training, or the name of a preset: laptop or lwm-paper. It replaces
    --context and the options below. See docs/curricula.md."""
    pack: Annotated[PackConfig, FLAT] = field(default_factory=PackConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the stage."""
        stages = self._stages()
        workspace = Workspace.existing(self.place.out)
        with configured(workspace, "pack", self, stages=stages, reconfigure=self.place.reconfigure):
            reports = []
            for stage in stages:
                reports.append(pack(workspace, stage, self.place.runner(options)))
                print_report(reports[-1])
            write_data_cards(workspace, only_missing=not any(report.new for report in reports))

    def _stages(self) -> list[Stage]:
        if self.curriculum is None:
            return stages_of(self.context, self.pack)
        if self.context or self.pack != PackConfig():
            raise UsageError("--curriculum sets all options of packing: do not combine it with --context or others")
        return read_curriculum(self.curriculum)


def stages_of(contexts: tuple[int, ...], config: PackConfig) -> list[Stage]:
    """Return one stage per context length. Raises UsageError when there is none, or one is out of range."""
    if not contexts:
        raise UsageError("give at least one context length: --context 4096")
    try:
        for context in contexts:
            require_context(context)
    except ConfigError as e:
        raise UsageError(str(e)) from e
    return [Stage(name=str(c), context_length=c, config=config) for c in dict.fromkeys(contexts)]


def print_report(report: JobReport) -> None:
    """Print what a job did."""
    messages.info(report.line(), event="job", **report.figures())
