"""Options of the command `run`, which runs all jobs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from tyro.conf import UseAppendAction

from pipeline.cli.jobs import print_report, stages_of
from pipeline.cli.place import FLAT, Inputs, Place
from pipeline.cli.settings import configured
from pipeline.dedup.config import DedupConfig
from pipeline.dedup.job import dedup_items
from pipeline.packing.config import PackConfig
from pipeline.packing.job import Stage, pack
from pipeline.reports.data_card import write_data_cards
from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
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
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.job import tokenize_items
from pipeline.tokenize.text_tokenizer import text_tokenizer_of
from schemas.files import write_text
from schemas.runs.messages import messages
from schemas.storage.option import Address


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run all jobs: survey, dedup, select, tokenize, pack. A second run processes only what is new or changed."""

    SETTINGS: ClassVar = {
        "defaults": ("inputs",),
        "access": ("access",),
        "survey": ("survey",),
        "dedup": ("dedup",),
        "select": ("select",),
        "tokenize": (),
        "pack": ("pack",),
    }

    inputs: Inputs
    """Folders of videos, images, books and question-answer documents; single files; or manifests (.parquet, .jsonl,
    .csv)."""
    context: UseAppendAction[tuple[int, ...]]
    """Tokens per sequence; required. Repeat the option to pack several datasets."""
    place: Annotated[Place, FLAT]
    text_tokenizer: Address | None = None
    """A text tokenizer: a SentencePiece .model, a tokenizer.json, the folder of a published model, or a .gguf file.
    Default: the workspace's, which is trained on its texts the first time."""
    units: int | None = None
    """Number of units that the work is divided into: the granularity of resume and of parallel work. The workspace
    keeps it; a multiple divides the units. Default: chosen from the number of items, and grows with it."""
    retry: bool = False
    """Process items again that an earlier run rejected."""
    defaults: Annotated[ItemDefaults, FLAT] = field(default_factory=ItemDefaults)
    absence: Annotated[AbsenceConfig, FLAT] = field(default_factory=AbsenceConfig)
    access: Annotated[AccessConfig, FLAT] = field(default_factory=AccessConfig)
    survey: SurveyConfig = field(default_factory=SurveyConfig)
    dedup: DedupConfig = field(default_factory=DedupConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    tokenize: Annotated[TokenizeConfig, FLAT] = field(default_factory=TokenizeConfig)
    pack: PackConfig = field(default_factory=PackConfig)

    def __post_init__(self) -> None:
        require_no_credentials(self.inputs)  # before they are recorded

    def __call__(self, options: tuple[str, ...]) -> None:
        """Run the jobs, one after the other."""
        stages, runner = stages_of(self.context, self.pack), self.place.runner(options)
        workspace = Workspace.open(self.place.out, units=self.units)
        again = self.place.reconfigure
        with configured(workspace, "run", self, stages=stages, text_tokenizer=self.text_tokenizer, reconfigure=again):
            reports = []
            for report in self._jobs(workspace, stages, runner):
                print_report(report)
                reports.append(dataclasses.asdict(report))
            write_data_cards(workspace, only_missing=not any(report["new"] for report in reports))
            write_text(workspace.root / "logs" / "report.json", json.dumps(reports, indent=2) + "\n")
        messages.info(f"done: {', '.join(str(workspace.packed(stage.name)) for stage in stages)}")

    def _jobs(self, workspace: Workspace, stages: list[Stage], runner: Runner) -> Iterator[JobReport]:
        worker = SurveyWorker(
            workspace=workspace,
            config=self.survey,
            decode=self.tokenize.decode,
            books=self.tokenize.books,
            qa=self.tokenize.qa,
            access=self.access,
            retry=self.retry,
        )
        yield survey_items(self.inputs, workspace, worker, runner, self.defaults, self.absence, self.units)
        yield dedup_items(workspace, self.dedup, runner)
        yield select_items(workspace, self.select, runner)
        write_quarantine(workspace)
        text = text_tokenizer_of(workspace, self.text_tokenizer, self.tokenize, self.access)
        yield tokenize_items(workspace, self.tokenize, text, runner, retry=self.retry, access=self.access)
        if rejected := write_quarantine(workspace):
            messages.info(f"rejected items: {rejected:,}; for the reasons: longreel list {workspace.root} --rejected")
        for stage in stages:
            yield pack(workspace, stage, runner)
