"""Google Cloud Dataflow. Its workers share no file system, so workspace and inputs have to be in object stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.runtime.engines.engine import Engine, new_pipeline
from pipeline.runtime.job_log import JobLog
from schemas.errors import ConfigError, TemplateWritten

if TYPE_CHECKING:
    import apache_beam as beam

_RESUMED = ("survey", "tokenize")  # jobs whose units the next command finds; the others need their driver
_REQUIRED = ("project", "region", "image", "temp_location")


@dataclass(frozen=True, kw_only=True)
class DataflowConfig:
    """Options of `--engine dataflow`."""

    project: str | None = None
    """Project of Google Cloud; required."""
    region: str | None = None
    """Region of the workers, for example us-central1; required."""
    image: str | None = None
    """Container image of the workers, built from Longreel's Dockerfile; required."""
    temp_location: str | None = None
    """Folder for temporary files, for example gs://bucket/tmp; required."""
    staging_location: str | None = None
    """Folder for the job description. Default: that of temporary files."""
    service_account: str | None = None
    """Service account of the workers. Default: that of the project's virtual machines."""
    machine_type: str = "n2-highmem-4"
    """Type of the workers' machines."""
    accelerator: str | None = None
    """Accelerator of the step that encodes, for example "type:nvidia-tesla-t4;count:1;install-nvidia-driver"."""
    memory_gb: int = 8
    """Minimum memory of a worker for the step that encodes."""
    disk_gb: int = 100
    """Disk of a worker: copies of the files it works on."""
    threads: int = 2
    """Items that a worker processes at a time; each has its own decoder and tokenizers. A worker has one process."""
    num_workers: int | None = None
    """Workers at the start. Default: the service's choice."""
    max_workers: int | None = None
    """The most workers. Default: the service's choice."""
    subnetwork: str | None = None
    """Subnetwork of the workers, as regions/REGION/subnetworks/NAME."""
    public_ips: bool = True
    """Whether workers have public addresses; without them, inputs by HTTP need a gateway."""
    template_location: str | None = None
    """Write a template of the job to this address, instead of running it."""

    def flags(self) -> list[str]:
        """Return Beam's options; raises ConfigError if a required option is missing."""
        if missing := [name for name in _REQUIRED if not getattr(self, name)]:
            names = ", ".join(f"--dataflow.{name.replace('_', '-')}" for name in missing)
            raise ConfigError(f"--engine dataflow needs {names}")
        given = {
            "project": self.project,
            "region": self.region,
            "sdk_container_image": self.image,
            "temp_location": self.temp_location,
            "staging_location": self.staging_location or self.temp_location,
            "service_account_email": self.service_account,
            "worker_machine_type": self.machine_type,
            "disk_size_gb": self.disk_gb,
            "number_of_worker_harness_threads": self.threads,
            "num_workers": self.num_workers,
            "max_num_workers": self.max_workers,
            "subnetwork": self.subnetwork,
            "template_location": self.template_location,
        }
        flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
        return [*flags, *([] if self.public_ips else ["--no_use_public_ips"])]


@dataclass(frozen=True)
class DataflowEngine(Engine):
    """Dataflow. Every job of a command is a Dataflow job."""

    config: DataflowConfig = field(default_factory=DataflowConfig)

    @contextmanager
    def pipeline(
        self, log: JobLog, *, workers: int, options: tuple[str, ...], reads: Sequence[str]
    ) -> Iterator[beam.Pipeline]:
        """Return an empty pipeline; raises TemplateWritten after a run that writes a template."""
        flags = [
            "--runner=DataflowRunner",
            "--sdk_location=container",  # the image has Beam and Longreel
            "--experiments=no_use_multiple_sdk_containers",  # one process a worker: models are in memory once
            f"--job_name=longreel-{log.job}-{log.run.lower()}",
            *self.config.flags(),
            *options,
        ]
        workspace = [str(log.logs.parent)] if log.logs.is_local else []
        if local := [*workspace, *reads]:
            raise ConfigError(
                f"Dataflow's workers cannot reach {', '.join(local[:3])}: copy inputs to a bucket, and give --out "
                "gs://… or s3://…"
            )
        yield new_pipeline(flags)
        if self.config.template_location:
            raise TemplateWritten(
                f"wrote the template of the job {log.job} to {self.config.template_location}. {_next_step(log.job)}"
            )

    def hints(self) -> dict[str, str]:
        """Return the memory and the accelerator of the step that encodes."""
        accelerator = {"accelerator": self.config.accelerator} if self.config.accelerator else {}
        return {"min_ram": f"{self.config.memory_gb}GB"} | accelerator


def _next_step(job: str) -> str:
    if job in _RESUMED:
        return (
            "Run it, for example with `gcloud dataflow jobs run`, then give the same command without the template to "
            "complete the job"
        )
    return (
        "It shows what the workers would run; as the driver has to combine what they write, give the same command "
        "without the template to run the job"
    )
