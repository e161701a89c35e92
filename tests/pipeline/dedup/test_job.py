"""The dedup job through Beam, on signatures that the test makes."""

from __future__ import annotations

import functools
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.dedup import job as dedup_job
from pipeline.dedup import key_worker, scratch
from pipeline.dedup.config import DedupConfig
from pipeline.dedup.job import dedup_items
from pipeline.dedup.similarity import Signature
from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.kinds.video import VIDEO
from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError, Interrupted
from schemas.fingerprint import fingerprint
from tests.support.golden import check_golden
from tests.support.signatures import scene, signature, write_signatures

pytestmark = pytest.mark.slow


@functools.cache
def corpus() -> tuple[Signature, ...]:
    """Return five scenes of six seconds, a darker copy of one, a part of another, two equal images, another image."""
    items = [signature(f"video {i}", scene(i, 6)) for i in range(5)]
    items.append(signature("copy of 0", [gray // 2 + 10 for gray in scene(0, 6)]))
    items.append(signature("part of 1", scene(1, 3, start=2.25)))
    items += [signature(name, scene(seed, 0.5), kind="image") for name, seed in (("p", 7), ("p again", 7), ("q", 8))]
    return tuple(items)


def pairs_of(workspace: Workspace) -> set[tuple[str, str]]:
    return {(row["a"], row["b"]) for row in pq.read_table(workspace.pairs.local()).to_pylist()}


def pair(one: str, other: str) -> tuple[str, str]:
    low, high = sorted((fingerprint(one), fingerprint(other)))
    return low, high


FOUND = {pair("video 0", "copy of 0"), pair("video 1", "part of 1"), pair("p", "p again")}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace: Workspace = write_signatures(tmp_path_factory.mktemp("dedup") / "w", corpus())
    report = dedup_items(workspace, DedupConfig(), Runner())
    assert (report.items, report.new, report.facts["pairs"]) == (10, 10, 3)
    return workspace


def test_copies_and_parts_are_found_and_no_other_pairs(done: Workspace) -> None:
    assert pairs_of(done) == FOUND
    rows = {(row["a"], row["b"]): row for row in pq.read_table(done.pairs.local()).to_pylist()}
    part = rows[pair("video 1", "part of 1")]
    whole, piece = ("a", "b") if part["a"] == fingerprint("video 1") else ("b", "a")
    assert part[f"containment_{piece}"] > 0.9
    assert 0.4 < part[f"containment_{whole}"] < 0.6
    (shared,) = part[f"shared_{whole}"]
    assert shared["start"] == pytest.approx(2.25, abs=0.26)
    assert not done.dedup.exists()


@pytest.mark.parametrize(("units", "workers", "seed"), [(1, 1, 0), (5, 2, 1)])
def test_the_output_depends_on_neither_units_nor_workers_nor_order(
    done: Workspace, tmp_path: Path, units: int, workers: int, seed: int
) -> None:
    items = list(corpus())
    random.Random(seed).shuffle(items)
    other = write_signatures(tmp_path / "w", items, units=units)
    dedup_items(other, DedupConfig(), Runner(workers))
    assert other.pairs.read() == done.pairs.read()


def test_the_search_runs_again_only_if_its_inputs_changed(tmp_path: Path) -> None:
    workspace = write_signatures(tmp_path / "w", corpus())
    first = dedup_items(workspace, DedupConfig(), Runner())
    made = workspace.pairs.local().stat().st_mtime_ns
    again = dedup_items(workspace, DedupConfig(), Runner())
    assert (again.new, again.facts) == (0, first.facts)
    assert workspace.pairs.local().stat().st_mtime_ns == made

    assert dedup_items(workspace, DedupConfig(max_bucket=16), Runner()).new == 10
    workspace.pairs.local().write_bytes(b"damaged")
    assert dedup_items(workspace, DedupConfig(max_bucket=16), Runner()).new == 10
    assert pairs_of(workspace) == FOUND
    write_signatures(tmp_path / "w", corpus()[:6])
    assert dedup_items(workspace, DedupConfig(max_bucket=16), Runner()).items == 6
    assert pairs_of(workspace) == {pair("video 0", "copy of 0")}


def test_rejected_items_and_other_kinds_are_not_searched(tmp_path: Path) -> None:
    workspace = write_signatures(tmp_path / "w", corpus(), rejected=[fingerprint("copy of 0")])
    report = dedup_items(workspace, DedupConfig(kinds=("video",)), Runner())
    assert report.items == 6
    assert pairs_of(workspace) == {pair("video 1", "part of 1")}


def test_items_of_equal_content_count_as_one(tmp_path: Path) -> None:
    remux = signature("video 0", scene(0, 6), at=np.arange(12) * 0.5 + 0.04)
    for name, items in (("x", [remux, *corpus()]), ("y", [*corpus(), remux])):
        assert dedup_items(write_signatures(tmp_path / name, items), DedupConfig(), Runner()).items == 10
    assert (tmp_path / "x/pairs.parquet").read_bytes() == (tmp_path / "y/pairs.parquet").read_bytes()


def test_an_interrupted_search_keeps_the_old_pairs_and_the_next_one_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = write_signatures(tmp_path / "w", corpus()[:6])
    dedup_items(workspace, DedupConfig(), Runner())
    before = workspace.pairs.local().read_bytes()
    write_signatures(tmp_path / "w", corpus())

    class Stopping:
        min_collisions = sufficient_collisions = 2

        def scaled_to(self, items: int) -> Any:
            return self

        def sample_keys(self, samples: Any) -> Any:
            return video.sample_keys(samples)

        def compare(self, a: Signature, b: Signature) -> Any:
            signal.raise_signal(signal.SIGINT)
            return video.compare(a, b)

    video = VIDEO.similarity()
    with monkeypatch.context() as patch:
        patch.setattr(type(VIDEO), "similarity", lambda _: Stopping())
        patch.setattr(dedup_job, "_fingerprint", lambda *_: "another")
        with pytest.raises(Interrupted):
            dedup_items(workspace, DedupConfig(), Runner())
    assert workspace.pairs.local().read_bytes() == before
    assert not workspace.dedup.exists()
    dedup_items(workspace, DedupConfig(), Runner())
    assert pairs_of(workspace) == FOUND


def test_a_workspace_without_signatures_has_no_pairs(tmp_path: Path) -> None:
    workspace = write_signatures(tmp_path / "w", corpus())
    workspace.signatures.delete_folder()
    report = dedup_items(workspace, DedupConfig(), Runner())
    assert (report.items, report.facts) == (0, {"candidates": 0, "pairs": 0})
    assert pairs_of(workspace) == set()


def test_a_damaged_signature_unit_raises_with_its_name(tmp_path: Path) -> None:
    workspace = write_signatures(tmp_path / "w", corpus())
    path = next(workspace.signatures.local().iterdir())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError, match=f"{path.name}.*run `longreel survey` again"):
        dedup_items(workspace, DedupConfig(), Runner())


def test_a_hash_key_that_all_items_share_adds_few_candidates_and_hides_no_copy(tmp_path: Path) -> None:
    card = scene(99, 1)
    items = [signature(f"{i}", card + scene(i, 3)) for i in range(40)]
    items.append(signature("copy of 7", card + scene(7, 3)))
    workspace = write_signatures(tmp_path / "w", items)
    report = dedup_items(workspace, DedupConfig(max_bucket=8), Runner())
    assert report.facts["full buckets"] > 0
    assert report.facts["candidates"] < 6 * 41
    rows = {(row["a"], row["b"]): row for row in pq.read_table(workspace.pairs.local()).to_pylist()}
    assert rows.pop(pair("7", "copy of 7"))["containment_a"] == 1
    assert all(max(row["containment_a"], row["containment_b"]) < 0.5 for row in rows.values())


def test_collisions_of_one_frame_do_not_suffice_unless_it_is_the_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = VideoSimilarity(sufficient_collisions=1000)
    monkeypatch.setattr(type(VIDEO), "similarity", lambda _: strict)
    shared = scene(50, 0.5)
    items = [signature("one", scene(1, 4) + shared), signature("other", scene(2, 4) + shared)]
    assert dedup_items(write_signatures(tmp_path / "w", items), DedupConfig(), Runner()).facts["candidates"] == 0
    items.append(signature("alone", shared))
    report = dedup_items(write_signatures(tmp_path / "w", items), DedupConfig(), Runner())
    assert (report.facts["candidates"], report.facts["pairs"]) == (2, 2)
    monkeypatch.setattr(type(VIDEO), "similarity", lambda _: VideoSimilarity())
    many = dedup_items(write_signatures(tmp_path / "w", items), DedupConfig(), Runner())
    assert many.facts["candidates"] == 3


def test_the_division_of_the_work_does_not_change_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Workspace
) -> None:
    monkeypatch.setattr(key_worker, "_FLUSH_KEYS", 300)
    cut = write_signatures(tmp_path / "runs", corpus())
    dedup_items(cut, DedupConfig(), Runner(workers=2))
    assert cut.pairs.read() == done.pairs.read()
    monkeypatch.setattr(scratch, "_ITEMS_PER_PART", 1)
    cut = write_signatures(tmp_path / "parts", corpus())
    dedup_items(cut, DedupConfig(), Runner(workers=2))
    assert pq.read_table(cut.pairs.local()).equals(pq.read_table(done.pairs.local()))


def test_pairs_change_only_with_the_version(done: Workspace) -> None:
    check_golden("dedup_pairs", dedup_job.VERSION, pq.read_table(done.pairs.local()).to_pylist())
