"""The same inputs give the same bytes on every engine and in every store, though a worker dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runtime.beam import Runner
from pipeline.runtime.engines.dask import DaskEngine
from pipeline.runtime.engines.other import OtherEngine
from schemas.storage.location import Location, located
from tests.support.beam_processes import DaskCluster, dask_cluster, worker_pool
from tests.support.inputs.media import make_video
from tests.support.servers.object_servers import ObjectServer
from tests.support.stages import Models, run_stages, save_models
from tests.support.texts import story

pytestmark = [pytest.mark.slow, pytest.mark.faults]
MADE = ("survey", "signatures", "selection", "tokens", "packed", "quarantine.parquet", "pairs.parquet")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for number in range(3):
        make_video(folder / f"{number}.mp4", frames=50 + 10 * number)
        (folder / f"{number}.txt").write_text("a caption")
    for number in range(4):
        (folder / f"book-{number}.txt").write_text(story(number, 30))
    (folder / "copy.txt").write_text(story(0, 30))
    (folder / "damaged.mp4").write_bytes(b"no video")
    return folder


def run(inputs: Path, out: Location, models: Models, runner: Runner) -> dict[str, bytes]:
    """Run all stages; return the files that they made, without the temporary ones of a killed worker."""
    run_stages(inputs, out, models.text, models.config(), runner=runner)
    made = {file.relative_to(out): file.read() for file in out.walk() if not file.name.endswith(".tmp")}
    return {name: data for name, data in made.items() if name.startswith(MADE)}


@pytest.fixture(scope="module")
def expected(inputs: Path, models: Models, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    made = run(inputs, located(tmp_path_factory.mktemp("local") / "out"), models, Runner())
    assert len(made) > 12
    return made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


def test_two_dask_workers_give_the_same_bytes_and_so_does_one_after_the_death_of_the_other(
    inputs: Path, models: Models, expected: dict[str, bytes], cluster: DaskCluster, tmp_path: Path
) -> None:
    out = located(tmp_path)
    assert run(inputs, out / "two", models, Runner(1, (), DaskEngine(cluster.address))) == expected
    assert run_with_a_death(inputs, out / "one", models, cluster) == expected


@pytest.mark.parametrize("store", ["s3", "gcs"])
def test_dask_workers_give_the_same_bytes_in_a_bucket_though_one_dies(
    inputs: Path,
    models: Models,
    expected: dict[str, bytes],
    store: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    server: ObjectServer = request.getfixturevalue(store)
    with dask_cluster(tmp_path / "dask", environment=server.environment) as cluster:
        assert run_with_a_death(inputs, server.bucket() / "out", models, cluster) == expected


def run_with_a_death(inputs: Path, out: Location, models: Models, cluster: DaskCluster) -> dict[str, bytes]:
    """Run all stages on a cluster, and kill a worker with SIGKILL during tokenize."""
    killer = threading.Thread(target=_kill_during_tokenize, args=(cluster, out), daemon=True)
    killer.start()
    made = run(inputs, out, models, Runner(1, (), DaskEngine(cluster.address)))
    killer.join(0)
    assert not killer.is_alive()
    assert cluster.workers[0].poll() is not None
    return made


def _kill_during_tokenize(cluster: DaskCluster, out: Location) -> None:
    while not any(file.name.endswith(".jsonl") for file in (out / "logs" / "tokenize").walk()):
        time.sleep(0.02)
    cluster.workers[0].kill()


@pytest.mark.parametrize("store", ["local", "s3", "gcs"])
def test_an_external_worker_pool_gives_the_same_bytes(
    inputs: Path,
    models: Models,
    expected: dict[str, bytes],
    store: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    out = located(tmp_path) if store == "local" else request.getfixturevalue(store).bucket()
    with worker_pool(tmp_path / "beam") as options:
        assert run(inputs, out / "out", models, Runner(1, options, OtherEngine())) == expected
