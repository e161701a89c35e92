"""The same inputs give the same bytes on every engine, though a worker dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runtime.beam import Runner
from pipeline.runtime.engines.dask import DaskEngine
from pipeline.runtime.engines.other import OtherEngine
from tests.support.beam_processes import DaskCluster, dask_cluster, worker_pool
from tests.support.inputs.media import make_video
from tests.support.stages import Models, made_bytes, run_stages, save_models
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


def run(inputs: Path, out: Path, models: Models, runner: Runner) -> dict[str, bytes]:
    run_stages(inputs, out, models.text, models.config(), runner=runner)
    made = made_bytes(out, MADE)
    return {name: data for name, data in made.items() if not name.endswith(".tmp")}  # those of a killed worker


@pytest.fixture(scope="module")
def expected(inputs: Path, models: Models, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    made = run(inputs, tmp_path_factory.mktemp("local") / "out", models, Runner())
    assert len(made) > 12
    return made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


def test_two_dask_workers_give_the_same_bytes_and_so_does_one_after_the_death_of_the_other(
    inputs: Path, models: Models, expected: dict[str, bytes], cluster: DaskCluster, tmp_path: Path
) -> None:
    runner = Runner(1, (), DaskEngine(cluster.address))
    assert run(inputs, tmp_path / "two", models, runner) == expected
    out = tmp_path / "one"
    killer = threading.Thread(target=_kill_during_tokenize, args=(cluster, out), daemon=True)
    killer.start()
    assert run(inputs, out, models, runner) == expected
    killer.join(0)
    assert not killer.is_alive()
    assert cluster.workers[0].poll() is not None


def _kill_during_tokenize(cluster: DaskCluster, out: Path) -> None:
    while not list(out.glob("logs/tokenize/*/*.jsonl")):
        time.sleep(0.02)
    cluster.workers[0].kill()


def test_an_external_worker_pool_gives_the_same_bytes(
    inputs: Path, models: Models, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with worker_pool(tmp_path / "beam") as options:
        assert run(inputs, tmp_path / "out", models, Runner(1, options, OtherEngine())) == expected
