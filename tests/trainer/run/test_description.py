from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError, VocabularyMismatch
from tests.support.training.training_dataset import VOCABULARY, with_other_tokenizer
from trainer.model.llama.config import debug
from trainer.run.description import Description
from trainer.run.optimizer import OptimizerConfig

DESCRIPTION = Description(
    model=debug(),
    vocabulary=VOCABULARY,
    context_length=128,
    dataset_fingerprint="f" * 64,
    batch_size=2,
    seed=0,
    optimizer=OptimizerConfig(),
    schedule_steps=100,
)
WHERE = Path("run/4")


def _resume(ours: Description, *, allow_changed: bool = False) -> list[str]:
    return DESCRIPTION.require_resumable(ours, where=WHERE, allow_changed=allow_changed)


def _changed(**fields: Any) -> Description:
    return dataclasses.replace(DESCRIPTION, **fields)


def test_a_description_is_restored_from_its_mapping() -> None:
    assert Description.from_dict(DESCRIPTION.to_dict(), where=WHERE) == DESCRIPTION


def test_another_tokenizer_is_rejected_with_the_field_that_differs() -> None:
    other = _changed(vocabulary=with_other_tokenizer())
    message = r"text_sha256: the checkpoint run/4 has 111.*, the dataset has 333"
    with pytest.raises(VocabularyMismatch, match=message):
        _resume(other, allow_changed=True)
    with pytest.raises(VocabularyMismatch, match=message):
        DESCRIPTION.require_shapes(other, where=WHERE)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (_changed(optimizer=OptimizerConfig(learning_rate=2e-3)), ["learning_rate: the checkpoint has 0.001"]),
        (_changed(optimizer=OptimizerConfig(clip_norm=2.0, warmup_steps=11)), ["clip_norm", "warmup_steps"]),
        (_changed(schedule_steps=200), ["schedule_steps: the checkpoint has 100, this run 200"]),
        (_changed(seed=1, batch_size=4), ["batch_size", "seed"]),
        (_changed(dataset_fingerprint="e" * 64, context_length=512), ["dataset_fingerprint", "context_length"]),
        (_changed(model=dataclasses.replace(debug(), rope_theta=1e7)), ["rope_theta"]),
        (_changed(model=dataclasses.replace(debug(), dtype="bfloat16", softmax="by_modality")), ["dtype", "softmax"]),
    ],
)
def test_a_change_of_what_a_run_computes_is_told_and_has_to_be_allowed(other: Description, told: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"(?s)run/4 was trained with other settings.*--allow-changed") as e:
        _resume(other)
    changes = _resume(other, allow_changed=True)
    assert len(changes) == len(told)
    for part in told:
        assert part in str(e.value)
        assert any(part in change for change in changes)


def test_a_run_can_resume_with_other_compute_settings() -> None:
    assert _resume(_changed(model=dataclasses.replace(debug(), tile=32, chunk=8, offload=True))) == []


def test_a_checkpoint_that_does_not_tell_its_optimizer_is_resumed_with_any() -> None:
    silent = _changed(optimizer=None, schedule_steps=None)
    assert silent.require_resumable(DESCRIPTION, where=WHERE, allow_changed=False) == []


def test_a_longer_context_can_load_parameters() -> None:
    model = dataclasses.replace(debug(), rope_theta=1e7, tile=32)
    grown = _changed(model=model, context_length=512, dataset_fingerprint="e" * 64, batch_size=1)
    DESCRIPTION.require_shapes(grown, where=WHERE)


@pytest.mark.parametrize("field", ["dim", "layers", "heads", "kv_heads", "head_dim", "ff_dim"])
def test_parameters_of_another_shape_are_rejected(field: str) -> None:
    model = dataclasses.replace(debug(), **{field: getattr(debug(), field) * 2, "heads": 8})
    other = _changed(model=model)
    with pytest.raises(ConfigError, match=rf"(?s)another shape.*{field}: the checkpoint has"):
        DESCRIPTION.require_shapes(other, where=WHERE)
    with pytest.raises(ConfigError, match=rf"(?s)another shape.*{field}: the checkpoint has"):
        _resume(other, allow_changed=True)


@pytest.mark.parametrize("change", [{"layers": "2"}, {"layers": 2.5}, {"rope_theta": None}, {"dtype": ["float32"]}])
def test_a_value_of_another_type_is_an_error_that_names_the_field(change: dict[str, Any]) -> None:
    values = DESCRIPTION.to_dict()
    values["model"] = values["model"] | change
    with pytest.raises(ConfigError, match=rf"run/4 was written by another version .*{next(iter(change))} = "):
        Description.from_dict(values, where=WHERE)


@pytest.mark.parametrize("change", [{"batch_size": "2"}, {"optimizer": {"beta1": "0.9"}}, {"optimizer": [1]}])
def test_a_wrong_value_of_the_run_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"run/4 was written by another version"):
        Description.from_dict(DESCRIPTION.to_dict() | change, where=WHERE)


def test_a_description_of_another_version_is_rejected() -> None:
    values = DESCRIPTION.to_dict()
    values["model"] = {**values["model"], "flavour": "up"}
    with pytest.raises(ConfigError, match=r"run/4 was written by another version .*flavour"):
        Description.from_dict(values, where=WHERE)
