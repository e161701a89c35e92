"""Options that all jobs share: where the workspace is, and where the jobs run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from pipeline.runtime.beam import Runner
from pipeline.runtime.cores import default_workers
from pipeline.runtime.engines.dask import DaskEngine
from pipeline.runtime.engines.dataflow import DataflowConfig, DataflowEngine
from pipeline.runtime.engines.engine import Engine
from pipeline.runtime.engines.local import LocalEngine
from pipeline.runtime.engines.other import OtherEngine
from schemas.errors import UsageError
from schemas.storage.option import AddressOfFolder

Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT ...")]
FLAT = arg(name="")  # the options of a nested configuration without its name before them


@dataclass(frozen=True, kw_only=True)
class Place:
    """The workspace, and how the jobs run."""

    out: AddressOfFolder
    """The workspace: a new folder, or one that an earlier command made; also in a bucket, as s3://BUCKET/FOLDER or
    gs://BUCKET/FOLDER."""
    workers: int | None = None
    """Worker threads of `--engine local`; default: one per usable core, at most one per GiB of available memory. Or
    processes of the cluster that `--engine dask` starts without a scheduler; default: 1. The result does not depend on
    it."""
    engine: Literal["local", "dask", "dataflow", "beam"] = "local"
    """Where the jobs run: threads of this process, a Dask cluster, Google Cloud Dataflow, or another Beam runner that
    the options after `--` select. See docs/operations.md."""
    scheduler: str | None = None
    """Address of the Dask scheduler, for example tcp://host:8786. Default: a cluster of processes of this machine,
    which ends with the command."""
    dataflow: DataflowConfig = field(default_factory=DataflowConfig)
    reconfigure: bool = False
    """Apply options that differ from the configuration of the workspace. Without it such a command is refused, with a
    list of the differences and of the results that they invalidate."""

    def runner(self, options: tuple[str, ...]) -> Runner:
        """Return what runs the jobs; `options` are Beam's."""
        if self.scheduler and self.engine != "dask":
            raise UsageError(f"--scheduler is an option of --engine dask, got --engine {self.engine}")
        workers = self.workers
        if workers is None:
            workers = default_workers() if self.engine == "local" else 1
        return Runner(workers, options, self._engine())

    def _engine(self) -> Engine:
        match self.engine:
            case "dask":
                return DaskEngine(self.scheduler)
            case "dataflow":
                return DataflowEngine(self.dataflow)
            case "beam":
                return OtherEngine()
        return LocalEngine()
