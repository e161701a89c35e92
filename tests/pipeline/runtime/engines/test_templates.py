"""What is sent to a distributed engine: small for any corpus, without local paths, with resource hints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apache_beam.internal.gcp import auth
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline.dedup.collision_worker import CollisionWorker
from pipeline.dedup.comparison_worker import ComparisonWorker
from pipeline.dedup.config import DedupConfig
from pipeline.dedup.key_worker import KeyWorker
from pipeline.dedup.pairs import Pair
from pipeline.dedup.scratch import Division, Scratch
from pipeline.packing.config import PackConfig
from pipeline.packing.job import AssignWorker, HistogramWorker, Packing, ShardWorker
from pipeline.packing.job import Stage as PackStage
from pipeline.runtime.beam import Runner, Stage, run_each, run_packing, run_selection, run_stages
from pipeline.runtime.engines.dataflow import DataflowConfig, DataflowEngine
from pipeline.runtime.growth import units_for
from pipeline.runtime.job_log import JobLog
from pipeline.runtime.stored_value import stored
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import SelectWorker
from pipeline.select.keep_best import KeepConfig
from pipeline.select.rules import Clusters
from pipeline.survey.config import SurveyConfig
from pipeline.survey.worker import SurveyWorker
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.worker import TokenizeWorker
from pipeline.video.decoder import DecodeConfig
from schemas.errors import TemplateWritten
from schemas.storage.location import Location, located
from tests.support.pipeline_protos import RecordingEngine, hints_of, local_paths
from tests.support.servers.object_servers import ObjectServer
from tests.support.stages import Models
from tests.support.stages import run_stages as run_jobs
from tests.support.texts import story

pytestmark = pytest.mark.slow
ITEMS = 100_000
HINTS = {"min_ram": "8GB", "accelerator": "type:nvidia-tesla-t4;count:1;install-nvidia-driver"}
MAX_BYTES = 10_000_000


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Beam know that there are no credentials, which it would search for half a minute."""
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)


def described(inputs: Location, books: int, models: Models, text: Location | Path, vision: str) -> dict[str, list[Any]]:
    """Run all jobs on books, and return the descriptions of pipelines by job."""
    for number in range(books):
        (inputs / f"{number}.txt").write(story(number, 3).encode())
    engine, found = RecordingEngine(asked=HINTS), dict[str, list[Any]]()
    config = replace(models.config(), vision=vision)
    run_jobs(inputs, inputs.parent / "out", text, config, runner=Runner(1, (), engine))
    for job, proto in engine.jobs:
        found.setdefault(job, []).append(proto)
    assert found.keys() == {"survey", "dedup", "select", "tokenize", "pack"}
    return found


def test_jobs_on_a_bucket_send_no_local_path_and_only_the_step_that_encodes_has_hints(
    gcs: ObjectServer, models: Models
) -> None:
    bucket = gcs.bucket()
    (bucket / "text.model").write(models.text.read_bytes())
    (bucket / "tiny.safetensors").write(Path(models.vision).read_bytes())
    found = described(bucket / "in", 2, models, bucket / "text.model", str(bucket / "tiny.safetensors"))
    for job, protos in found.items():
        for proto in protos:
            assert local_paths(proto) == set()
            hinted = {"Work": {"min_ram_bytes", "accelerator"}} if job == "tokenize" else {}
            assert hints_of(proto) == hinted


def test_what_jobs_send_does_not_grow_with_the_corpus(models: Models, tmp_path: Path) -> None:
    folders = {books: located(tmp_path / str(books) / "in") for books in (10, 20)}
    few, many = (described(folders[n], n, models, models.text, models.vision) for n in folders)
    for job in few.keys() - {"dedup"}:  # which has one part of its work for 256 items, and at most 256
        for proto, of_many in zip(few[job], many[job], strict=True):
            size = len(proto.SerializeToString())
            assert len(of_many.SerializeToString()) == pytest.approx(size, abs=100)


def template(gcs: ObjectServer, job: str, run: Any) -> Any:
    """Return the description of the pipeline in a template of Dataflow that `run(runner, log, bucket)` writes."""
    bucket = gcs.bucket()
    config = DataflowConfig(
        project="longreel-test",
        region="us-central1",
        image="example.invalid/longreel:1",
        temp_location=str(bucket / "staging"),
        template_location=str(bucket / "template.json"),
        accelerator=HINTS["accelerator"],
    )
    runner = Runner(1, ("--no_auth",), DataflowEngine(config))
    after = "Run it, " if job in ("survey", "tokenize") else "It shows what the workers would run"
    with pytest.raises(TemplateWritten, match=f"wrote the template of the job {job} to gs://.* {after}"):
        run(runner, JobLog.start(bucket / "logs", job), bucket)
    described = json.loads((bucket / "template.json").read())
    assert len(json.dumps(described)) < MAX_BYTES
    (staged,) = [place for place in (bucket / "staging").walk() if place.name == "pipeline.pb"]
    data = staged.read()
    assert len(data) < MAX_BYTES
    proto = beam_runner_api_pb2.Pipeline.FromString(data)
    assert local_paths(proto) == set()
    return proto


def survey(runner: Runner, log: JobLog, bucket: Location) -> None:
    worker = SurveyWorker(
        workspace=Workspace(bucket / "out", units_for(ITEMS)), config=SurveyConfig(), decode=DecodeConfig()
    )
    run_each(range(units_for(ITEMS)), worker, runner, log=log)


def tokenize(runner: Runner, log: JobLog, bucket: Location) -> None:
    workspace = Workspace(bucket / "out", units_for(ITEMS))
    worker = TokenizeWorker(workspace=workspace, config=TokenizeConfig(), text_tokenizer=workspace.text_tokenizer)
    run_each(range(workspace.units), worker, runner, log=log, encodes=True)


def dedup(runner: Runner, log: JobLog, bucket: Location) -> None:
    workspace, division = Workspace(bucket / "out", units_for(ITEMS)), Division.of(ITEMS, units_for(ITEMS))
    scratch, similarity = Scratch(workspace.dedup / "1"), tuple(DedupConfig().searches.values())
    steps = (
        Stage("Keys", range(division.blocks), KeyWorker(workspace, scratch, similarity, division)),
        Stage("Collide", range(division.parts), CollisionWorker(scratch, 100, division)),
        Stage("Compare", range(division.ranges), ComparisonWorker(workspace, scratch, similarity, division)),
    )
    run_stages(steps, runner, log=log)


def select(runner: Runner, log: JobLog, bucket: Location) -> None:
    workspace = Workspace(bucket / "out", units_for(ITEMS))
    shared: Any = {"kind": "video", "containment_a": 1.0, "containment_b": 1.0, "similarity": 1.0}
    pairs = [Pair(a=f"{n:064d}", b=f"{n + 1:064d}", **shared) for n in range(0, ITEMS, 2)]
    clusters = Clusters.of(pairs, KeepConfig())
    worker = SelectWorker(workspace=workspace, config=SelectConfig(), clusters=clusters, blocked={})
    with stored(bucket / "value", worker) as steps:
        methods = {name: steps.method(name) for name in ("read", "judge", "write")}
        run_selection(range(workspace.units), **methods, runner=runner, log=log)


def count(runner: Runner, log: JobLog, bucket: Location) -> None:
    workspace = Workspace(bucket / "out", units_for(ITEMS))
    stage = PackStage(name="512", context_length=512, config=PackConfig())
    run_each(range(workspace.units), HistogramWorker(workspace, stage), runner, log=log)


def pack(runner: Runner, log: JobLog, bucket: Location) -> None:
    workspace = Workspace(bucket / "out", units_for(ITEMS))
    plan: Any = list(range(ITEMS))  # any large value
    with stored(bucket / "value", Packing(plan, {})) as packing:
        sender = AssignWorker(workspace, bucket / "histograms", packing)
        writer = ShardWorker(workspace, workspace.packed("512"), packing)
        run_packing(range(workspace.units), sender=sender, writer=writer, runner=runner, log=log)


@pytest.mark.parametrize("shape", [survey, dedup, select, tokenize, count, pack], ids=lambda shape: shape.__name__)
def test_the_template_of_a_job_on_a_hundred_thousand_items_is_small_and_has_its_hints(
    gcs: ObjectServer, shape: Any
) -> None:
    expected = {"Work": {"min_ram_bytes", "accelerator"}} if shape is tokenize else {}
    assert hints_of(template(gcs, shape.__name__, shape)) == expected
