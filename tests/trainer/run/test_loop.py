from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from schemas.errors import ConfigError, DatasetError, JobError, VocabularyMismatch
from schemas.runs.checkpoint_files import finished_steps
from schemas.runs.metrics import read_metrics
from schemas.storage.location import located
from tests.support.bit_flips import flips
from tests.support.servers.object_servers import ObjectServer
from tests.support.stored_files import index_of
from tests.support.training.runs import MEASURED
from tests.support.training.training_dataset import VOCABULARY, with_other_tokenizer, write_dataset
from trainer.config import MeshConfig
from trainer.data.batch_sizes import BatchSize
from trainer.data.loader import Placement
from trainer.data.mixture import WeightedDataset
from trainer.data.shards import PackedSplit
from trainer.mesh import make_mesh
from trainer.run.checkpoint import open_run
from trainer.run.config import Cadence, DataOrder, Memory, TrainConfig
from trainer.run.copies.fetched import local_run
from trainer.run.divergence import Divergence
from trainer.run.loop import TrainResult, train
from trainer.run.model_options import ModelOptions
from trainer.run.optimizer import OptimizerConfig
from trainer.run.state import load_model
from trainer.run.tracking import Tracking

pytestmark = pytest.mark.slow

S, STEPS = 128, 24
OPTIMIZER = OptimizerConfig(learning_rate=3e-3, warmup_steps=4, decay_steps=STEPS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("packed") / "set", context=S, train=10, val=5)


def config_of(dataset: Path, out: Path, **changes: Any) -> TrainConfig:
    config = TrainConfig(
        dataset=(located(dataset),),
        out=out,
        model=ModelOptions(recipe="debug"),
        steps=STEPS,
        batch_size=4,
        cadence=Cadence(eval_every=6, checkpoint_every=8, checkpoints_kept=2),
        optimizer=OPTIMIZER,
    )
    return dataclasses.replace(config, **changes)


def test_a_dataset_in_an_object_store_trains_the_same_model(dataset: Path, s3: ObjectServer, tmp_path: Path) -> None:
    there = s3.bucket() / "packed" / "128"
    for path in dataset.iterdir():
        (there / path.name).write(path.read_bytes())
    cadence = Cadence(eval_every=2, checkpoint_every=2)
    small = config_of(dataset, tmp_path / "local", steps=4, cadence=cadence)
    train(small)
    train(dataclasses.replace(small, dataset=(there,), out=tmp_path / "remote"))
    assert _rows(tmp_path / "remote") == _rows(tmp_path / "local")
    facts = json.loads((tmp_path / "remote" / "config-from-0.json").read_text())
    assert facts["config"]["dataset"] == [str(there)]


@pytest.fixture(scope="module")
def straight(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """All steps in one go, in a ring of 8 devices."""
    return train(config_of(dataset, tmp_path_factory.mktemp("straight")))


def _rows(out: Path) -> list[dict[str, Any]]:
    """What was measured, without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in read_metrics(out / "metrics.jsonl")]


def _arrays(out: Path) -> dict[str, np.ndarray]:
    """Everything in the newest checkpoint's arrays, by name, and the data's position."""
    with open_run(out) as checkpoints:
        step = checkpoints.newest()
        position = checkpoints.restore_position(step)
        folder = checkpoints.path / str(step)
    reader, arrays = ocp.PyTreeCheckpointer(), {}
    for item in ("params", "optimizer"):
        names = reader.metadata(folder / item).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), names)
        arrays |= {f"{item}/{k}": v for k, v in reader.restore(folder / item, restore_args=as_numpy).items()}
    return arrays | {"position": np.array(position["next_index"]), "step": np.array(step)}


def _assert_same_run(out: Path, straight: TrainResult) -> None:
    expected = straight.metrics.parent
    assert _rows(out) == _rows(expected)
    ours, theirs = _arrays(out), _arrays(expected)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 30
    for name in theirs:
        assert ours[name].dtype == theirs[name].dtype
        assert np.array_equal(ours[name], theirs[name]), name


def test_weighted_datasets_and_a_batch_ramp_resume_exactly_and_have_their_shares(dataset: Path, tmp_path: Path) -> None:
    second = write_dataset(tmp_path / "second", context=S, train=4, val=1, seed=1)
    parts = (WeightedDataset(located(dataset), Fraction("0.3")), WeightedDataset(located(second), Fraction("0.7")))
    ramp = DataOrder(batch_ramp=(BatchSize(2, 8),), max_epochs=7)
    cadence = Cadence(eval_every=0, checkpoint_every=1)
    config = config_of(dataset, tmp_path / "whole", data=ramp, steps=5, cadence=cadence)
    config = dataclasses.replace(config, dataset=parts)
    train(config)
    parted = dataclasses.replace(config, out=tmp_path / "parted")
    for steps in (2, 5):
        train(dataclasses.replace(parted, steps=steps))
    assert _rows(parted.out) == _rows(config.out)
    ours, theirs = _arrays(parted.out), _arrays(config.out)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    samples = [4, 8, 16, 24, 32]
    for row, n in zip(_rows(config.out), samples, strict=True):
        assert row["epoch"] == n / 14
        assert row["epoch_1"] * 10 == pytest.approx(0.3 * n, abs=0.5)
        assert row["epoch_2"] * 4 == pytest.approx(0.7 * n, abs=0.5)
    with pytest.raises(ConfigError, match="mixture: the checkpoint has 0:0.3,0.7, this run"):
        train(dataclasses.replace(parted, dataset=(located(dataset), located(second)), steps=6))


def test_the_loss_on_held_out_data_falls(straight: TrainResult) -> None:
    assert straight.step == STEPS
    # Logits begin with a variance of 1, whose cross-entropy is 1/2 above that of even odds.
    assert straight.first_eval_loss == pytest.approx(np.log(VOCABULARY.size) + 0.5, rel=0.05)
    assert straight.eval_loss is not None
    assert straight.eval_loss < straight.first_eval_loss - 0.4
    assert straight.checkpoint.is_dir()


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    dataset: Path, straight: TrainResult, tmp_path: Path
) -> None:
    assert train(config_of(dataset, tmp_path, steps=17)).step == 17
    # A run that ends is evaluated at its end, one that only passes by is not.
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(lines[-1])["kind"] == "eval"
    (tmp_path / "metrics.jsonl").write_text("".join(lines[:-1]))
    train(config_of(dataset, tmp_path))
    _assert_same_run(tmp_path, straight)


def test_a_run_continues_on_another_machine_from_its_copy_in_a_bucket(
    dataset: Path, straight: TrainResult, s3: ObjectServer, tmp_path: Path
) -> None:
    place = s3.bucket() / "run"
    train(config_of(dataset, tmp_path / "first", steps=8, copy_to=place))
    train(config_of(dataset, tmp_path / "second", steps=12, copy_to=place))
    expected = [row for row in _rows(straight.metrics.parent) if row["step"] <= 12]
    found = _rows(tmp_path / "second")
    assert [row for row in found if (row["kind"], row["step"]) != ("eval", 8)] == expected  # where the first run ended
    assert finished_steps(place) == [8, 12]
    with open_run(local_run(place)) as checkpoints:
        assert checkpoints.describe(12).vocabulary == VOCABULARY


def test_a_run_with_micro_batches_and_softmax_by_modality_can_be_resumed(dataset: Path, tmp_path: Path) -> None:
    changes = {"memory": Memory(accumulate=2, offload=True), "softmax": "by_modality"}
    whole = train(config_of(dataset, tmp_path / "whole", steps=6, **changes))
    train(config_of(dataset, tmp_path / "parts", steps=3, **changes))
    lines = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "parts" / "metrics.jsonl").write_text("".join(lines[:-1]))
    train(config_of(dataset, tmp_path / "parts", steps=6, **changes))
    _assert_same_run(tmp_path / "parts", whole)
    # Even odds over one modality's ids are better than over all: of text 64, of vision 34.
    first = _rows(tmp_path / "whole")[0]
    assert first["text_loss"] == pytest.approx(np.log(VOCABULARY.text_size) + 0.5, rel=0.1)
    assert first["vision_loss"] == pytest.approx(np.log(VOCABULARY.vision_size) + 0.5, rel=0.1)
    with pytest.raises(ConfigError, match="softmax: the checkpoint has by_modality, this run joint"):
        train(config_of(dataset, tmp_path / "whole"))


_TRAIN = """
import sys
from pathlib import Path
from schemas.errors import LongreelError
from tests.trainer.run.test_loop import config_of
from trainer.run.loop import train
try:
    print(train(config_of(Path(sys.argv[1]), Path(sys.argv[2]))).step)
except LongreelError as e:
    print(f"{type(e).__name__}: {e}")
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.campaign), signal.SIGKILL])
def test_a_run_stopped_by_a_signal_resumes_to_the_same_result(
    dataset: Path, straight: TrainResult, tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", _TRAIN, str(dataset), str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "metrics.jsonl"
    while child.poll() is None and len(read_metrics(metrics)) < 12:
        time.sleep(0.002)
    child.send_signal(number)
    said, errors = child.communicate()
    done = len([row for row in _rows(tmp_path) if row["kind"] == "train"])
    assert 10 <= done < STEPS, errors
    if number != signal.SIGKILL:
        assert said == (
            f"Interrupted: stopped after step {done} of {STEPS}; saved as {tmp_path / 'checkpoints' / str(done)}. "
            "Run the same command to resume.\n"
        )
        assert "Traceback" not in errors
    train(config_of(dataset, tmp_path))
    _assert_same_run(tmp_path, straight)


def test_a_finished_run_makes_no_further_steps(dataset: Path, straight: TrainResult) -> None:
    out = straight.metrics.parent
    before = {path: path.stat().st_mtime_ns for path in (out / "checkpoints").rglob("*")}
    lines = straight.metrics.read_bytes()
    assert train(config_of(dataset, out)) == straight
    assert straight.metrics.read_bytes() == lines
    assert {path: path.stat().st_mtime_ns for path in (out / "checkpoints").rglob("*")} == before


def test_a_run_resumes_on_another_mesh_with_another_layout_and_micro_batches(
    dataset: Path, straight: TrainResult, tmp_path: Path
) -> None:
    train(config_of(dataset, tmp_path, steps=8))
    mesh = MeshConfig(data=2, fsdp=1, sequence=4)
    train(config_of(dataset, tmp_path, steps=16, mesh=mesh, layout="contiguous", memory=Memory(accumulate=2)))
    ours = [row["loss"] for row in _rows(tmp_path) if row["kind"] == "train"]
    theirs = [row["loss"] for row in _rows(straight.metrics.parent) if row["kind"] == "train"][:16]
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_all_held_out_data_is_evaluated_before_the_first_step_and_after_the_last(
    straight: TrainResult,
) -> None:
    rows = [row for row in _rows(straight.metrics.parent) if row["kind"] == "eval"]
    assert [row["step"] for row in rows] == [0, 6, 12, 18, 24]
    assert {row["sequences"] for row in rows} == {5}


def test_evaluation_is_one_weighted_mean_over_the_split(dataset: Path, straight: TrainResult) -> None:
    mesh = make_mesh(MeshConfig())
    model, description = load_model(straight.metrics.parent, mesh=mesh)
    assert description.vocabulary == VOCABULARY
    val = PackedSplit([dataset], "val")
    placement = Placement.of(mesh, (len(val), S), layout="block_cyclic", tile=model.config.tile)
    batch = placement.place(placement.loader(val)(np.arange(len(val))))
    hidden = model(batch["tokens"], batch["segment_ids"], batch["positions"])
    logits = np.asarray(hidden, np.float64) @ np.concatenate(model.heads()).astype(np.float64).T
    ce = (
        np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, np.asarray(batch["targets"])[..., None], -1)[..., 0]
    )
    weights = np.asarray(batch["weights"], np.float64)
    assert straight.eval_loss == pytest.approx((weights * ce).sum() / weights.sum(), rel=1e-5)


def test_steps_tell_the_utilization_of_devices_whose_peak_is_given(dataset: Path, tmp_path: Path) -> None:
    tracking, cadence = Tracking(peak_flops=1e9), Cadence(eval_every=0)
    train(config_of(dataset, tmp_path, steps=2, tracking=tracking, cadence=cadence))
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert all(0 < row["mfu"] < 1 and row["peak_rss_bytes"] > 1 << 20 for row in rows)


def test_the_configuration_is_stored_with_the_results(straight: TrainResult) -> None:
    facts = json.loads((straight.metrics.parent / "config-from-0.json").read_text())
    assert facts["config"]["steps"] == STEPS
    assert facts["config"]["optimizer"]["learning_rate"] == 3e-3
    assert facts["model"]["dim"] == 32
    assert facts["mesh"] == {"data": 1, "fsdp": 1, "tensor": 1, "sequence": 8}


def test_a_longer_context_starts_from_the_parameters_of_another_run(straight: TrainResult, tmp_path: Path) -> None:
    longer = write_dataset(tmp_path / "longer", context=2 * S, train=4, val=5, seed=0)
    config = config_of(longer, tmp_path / "grown", steps=1, batch_size=2, init_from=located(straight.metrics.parent))
    grown = train(config)
    assert straight.eval_loss is not None
    assert grown.first_eval_loss == pytest.approx(straight.eval_loss, rel=0.1)
    assert [row["step"] for row in _rows(tmp_path / "grown")] == [0, 1, 1]


def test_a_run_without_held_out_data_says_that_it_is_not_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=4, val=0)
    result = train(config_of(directory, tmp_path / "run", steps=2))
    assert "no dataset has sequences in the split val, so the run is not evaluated" in capsys.readouterr().err
    assert result.eval_loss is result.first_eval_loss is None
    assert result.loss is not None


def test_a_step_whose_loss_is_not_finite_is_skipped_within_a_budget_or_ends_the_run(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=10, val=0, heavy=8)  # comes in the second batch
    rare, every = Cadence(eval_every=0), Cadence(eval_every=0, checkpoint_every=1)
    stop = Divergence(on_divergence="stop")
    with pytest.raises(JobError, match=r"diverged at step 2: the loss is (inf|nan).*There is no checkpoint yet"):
        train(config_of(directory, tmp_path / "rare", cadence=rare, divergence=stop))
    with pytest.raises(
        JobError,
        match=r"at step 2: .*checkpoints/1; no update .* without the updates of step 2, .* --on-divergence skip\.",
    ):
        train(config_of(directory, tmp_path / "every", cadence=every, divergence=stop))
    arrays = _arrays(tmp_path / "every")
    assert arrays["step"] == 1
    assert all(np.isfinite(array).all() for array in arrays.values())

    # The same command does not meet the same end: it leaves out the update, and ends at a later one.
    with pytest.raises(JobError, match=r"diverged at step ([3-9]|\d\d)"):
        train(config_of(directory, tmp_path / "every", cadence=every, divergence=stop))
    # With a budget it continues, and counts what it skips.
    result = train(config_of(directory, tmp_path / "every", cadence=every, steps=9))
    applied = [row["applied"] for row in read_metrics(result.metrics)]
    assert (applied[0], applied[1], len(applied)) == (1, 0, 9)
    assert 2 <= applied.count(0) <= 5
    assert all(np.isfinite(array).all() for array in _arrays(tmp_path / "every").values())
    with pytest.raises(JobError, match="or with a larger --skip-budget"):
        train(config_of(directory, tmp_path / "budget", cadence=rare, divergence=Divergence(skip_budget=1)))


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(
    dataset: Path, straight: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config_of(dataset, tmp_path, steps=20, cadence=Cadence(eval_every=6, checkpoint_every=8)))
    _damage(next((tmp_path / "checkpoints/20/params").rglob("d/*")))
    _damage(tmp_path / "checkpoints/16/position/metadata")
    train(config_of(dataset, tmp_path))
    said = capsys.readouterr().err
    assert "a checkpoint is damaged" in said
    assert "moved the checkpoints after step 8 to" in said
    assert sorted(path.name for path in (tmp_path / "checkpoints-set-aside").iterdir()) == ["16", "20"]
    _assert_same_run(tmp_path, straight)


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_settings_that_change_on_resuming_have_to_be_allowed(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {"cadence": Cadence(eval_every=0)}
    train(config_of(dataset, tmp_path, steps=1, **short))
    other = dataclasses.replace(OPTIMIZER, learning_rate=1e-4)
    with pytest.raises(ConfigError, match=r"learning_rate: the checkpoint has 0.003, this run 0.0001\n.*allow-changed"):
        train(config_of(dataset, tmp_path, steps=2, optimizer=other, **short))
    assert train(config_of(dataset, tmp_path, steps=2, optimizer=other, allow_changed=True, **short)).step == 2
    assert "changed: learning_rate: the checkpoint has 0.003, this run 0.0001" in capsys.readouterr().err


def test_a_damaged_sequence_stops_the_run_by_name_or_is_skipped_and_counted(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "set")
    shard = index_of(tmp_path / "set")[0]
    next(bits := flips(tmp_path / "set" / shard.url, 1))
    short = {"steps": 3, "cadence": Cadence(eval_every=0)}  # 12 of 10 sequences: each of them at least once
    with pytest.raises(DatasetError, match=rf"{shard.url}, sequence \d+: its bytes were altered"):
        train(config_of(tmp_path / "set", tmp_path / "stopped", **short))
    result = train(config_of(tmp_path / "set", tmp_path / "skipped", damaged="skip", **short))
    bits.close()
    assert result.skipped_sequences == 1
    assert [row["skipped_sequences"] for row in read_metrics(result.metrics)][-1] == 1


def test_an_unfinished_dataset_is_rejected(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S)
    (directory / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="unfinished"):
        train(config_of(directory, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_dataset_of_another_tokenizer_is_rejected(dataset: Path, straight: TrainResult, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", context=S, vocabulary=with_other_tokenizer())
    with pytest.raises(VocabularyMismatch, match="text_sha256"):
        train(config_of(other, straight.metrics.parent))
    with pytest.raises(VocabularyMismatch, match="text_sha256"):
        train(config_of(other, tmp_path / "run", init_from=located(straight.metrics.parent)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 3, "mesh": MeshConfig(data=2)}, r"batch_size = 3 .* data x fsdp = 2 devices: take 2 or 4"),
        ({"batch_size": 6, "memory": Memory(accumulate=4)}, r"batch_size = 6 .* 4 micro-batches: take 4 or 8"),
        ({"mesh": MeshConfig(sequence=16)}, r"sequence=16 takes 16 devices, there are 8: take sequence = 8"),
        ({"mesh": MeshConfig(tensor=4)}, r"tensor = 4 does not divide the model's kv_heads = 2: take tensor = 2"),
    ],
)
def test_an_indivisible_batch_mesh_or_model_is_rejected_with_sizes_that_fit(
    dataset: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(config_of(dataset, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_context_that_the_mesh_does_not_divide_is_rejected(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=100)
    with pytest.raises(
        ConfigError, match=r"a context of 100 tokens .* over 8 devices .* pack at a context of 96 or 104"
    ):
        train(config_of(directory, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_dataset_of_another_context_length_is_rejected(dataset: Path, straight: TrainResult, tmp_path: Path) -> None:
    longer = write_dataset(tmp_path / "longer", context=2 * S, train=4, val=5)
    with pytest.raises(ConfigError, match=f"context_length: the checkpoint has {S}, this run {2 * S}"):
        train(config_of(longer, straight.metrics.parent))
    with pytest.raises(ConfigError, match=f"a context of {S} tokens and .* of {2 * S}"):
        train(dataclasses.replace(config_of(dataset, tmp_path / "run"), dataset=(located(dataset), located(longer))))
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_data_or_another_order_is_rejected(dataset: Path, straight: TrainResult) -> None:
    with pytest.raises(ConfigError, match=r"(?s)batch_size: the checkpoint has 4, this run 2.*--init-from"):
        train(config_of(dataset, straight.metrics.parent, batch_size=2))
    with pytest.raises(ConfigError, match="layers: the checkpoint has 2, this run 4"):
        train(config_of(dataset, straight.metrics.parent, model=ModelOptions(recipe="small")))
