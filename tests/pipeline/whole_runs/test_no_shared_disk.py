"""Dask workers that share no disk with the driver: everything is in a bucket, or one error says what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import longreel
from schemas.storage.location import Location, located
from tests.support.beam_processes import DaskCluster, dask_cluster
from tests.support.inputs.media import make_video
from tests.support.servers.object_servers import ObjectServer
from tests.support.servers.own_disk import on_own_disk
from tests.support.stages import Models, save_models
from tests.support.texts import story

pytestmark = [pytest.mark.slow, pytest.mark.campaign]
MADE = ("pairs.parquet", "quarantine.parquet", "survey", "signatures", "selection", "tokens", "packed")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that workers do not see."""
    return tmp_path_factory.mktemp("disk")


@pytest.fixture(scope="module")
def models(disk: Path) -> Models:
    return save_models(disk)


@pytest.fixture
def inputs(s3: ObjectServer, disk: Path) -> Location:
    """A bucket with a video, its caption, a book with a part of an evaluation set, which is there too, and its copy."""
    folder = s3.bucket() / "in"
    make_video(disk / "film.mp4", frames=50)
    for name, data in {
        "film.mp4": (disk / "film.mp4").read_bytes(),
        "film.txt": b"a caption",
        "book.txt": story(0, 30).encode(),
        "copy.txt": story(0, 30).encode(),
        "broken.mp4": b"not a video",
    }.items():
        (folder / name).write(data)
    return folder


@pytest.fixture
def cluster(s3: ObjectServer, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Two workers that do not see the disk, and hash strings in another way than the driver."""
    logs = tmp_path_factory.mktemp("dask")
    with dask_cluster(logs, environment={"PYTHONHASHSEED": "5"}, prefix=on_own_disk(disk)) as cluster:
        yield cluster


def run(inputs: Location | Path, out: Location | Path, text: str, vision: str, sets: str, *options: str) -> int:
    command = ["run", str(inputs), "--out", str(out), "--context", "512", "--text-tokenizer", text, "--vision", vision]
    command += ["--survey.books.decontaminate", sets, "--units", "2", "--decode.fps", "2", "--decode.size", "16"]
    return longreel.main([*command, "--pack.shard-bytes", "65536", "--select.limit", "frozen_share=:", *options])


def made(out: Location) -> dict[str, bytes]:
    return {name: place.read() for place in out.walk() if (name := place.relative_to(out)).startswith(MADE)}


def test_workers_without_a_shared_disk_make_the_same_bytes_from_a_bucket_and_refuse_local_paths(
    inputs: Location, cluster: DaskCluster, disk: Path, models: Models, capfd: pytest.CaptureFixture[str]
) -> None:
    bucket, dask = inputs.parent, ("--engine", "dask", "--scheduler", cluster.address)
    for name, data in (
        ("text.model", models.text.read_bytes()),
        ("tiny.safetensors", Path(models.vision).read_bytes()),
    ):
        (bucket / name).write(data)
    (bucket / "eval.txt").write(story(0, 30)[3000:3400].encode())
    remote = [str(bucket / name) for name in ("text.model", "tiny.safetensors", "eval.txt")]

    assert run(inputs, disk / "local", *remote) == 0
    assert run(inputs, bucket / "out", *remote, *dask) == 0
    expected = made(located(disk / "local"))
    assert len(expected) > 12
    assert made(bucket / "out") == expected

    assert run(inputs, disk / "out", *remote, *dask) == 1
    _check_refusal(capfd, f"cannot reach {disk / 'out'} (FileNotFoundError); ")
    assert run(inputs, bucket / "other", remote[0], models.vision, remote[2], *dask) == 1
    _check_refusal(capfd, f"cannot reach {models.vision}; ")
    assert run(disk / "film.mp4", bucket / "more", *remote, *dask) == 1
    _check_refusal(capfd, f"cannot reach {disk / 'film.mp4'}; ")


def _check_refusal(capfd: pytest.CaptureFixture[str], expected: str) -> None:
    """Check that the last command printed one error, without a traceback."""
    printed = " ".join(capfd.readouterr().err.split())
    assert expected in printed
    assert "use storage that all machines share: an object store (--out s3://… or gs://…)" in printed
    assert "Traceback" not in printed
