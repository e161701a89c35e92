from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from trainer.data.batch_sizes import BatchSize
from trainer.data.mixture import parse_dataset, parse_mixture
from trainer.run.config import DataOrder, TrainConfig
from trainer.run.data_order import fitting_steps, order_of


def _config(*datasets: str, steps: int = 10, **data: Any) -> TrainConfig:
    return TrainConfig(
        dataset=tuple(map(parse_dataset, datasets)),
        out=Path("run"),
        steps=steps,
        batch_size=4,
        data=DataOrder(**data),
    )


def test_the_default_number_of_steps_is_four_epochs_within_limits() -> None:
    assert fitting_steps(_config("a"), 400) == 400
    assert fitting_steps(_config("a"), 3) == 50
    assert fitting_steps(_config("a"), 10**9) == 1000
    assert fitting_steps(_config("a", max_epochs=2), 400) == 200
    assert fitting_steps(_config("a", max_epochs=2), 3) == 1
    assert fitting_steps(_config("a", batch_ramp=(BatchSize(100, 8),)), 400) == 250


def test_mixtures_begin_at_the_first_sample_of_their_step() -> None:
    mixture = (parse_mixture("0:1,0"), parse_mixture("3:0,1"))
    order = order_of(_config("a", "b", mixture=mixture, batch_ramp=(BatchSize(2, 8),)), [10, 10])
    samples = 2 * 4 + 8
    assert order.used(samples) == [samples, 0]
    assert order.used(samples + 5) == [samples, 5]


def test_a_run_that_would_use_up_its_data_is_refused_with_the_last_possible_step() -> None:
    assert order_of(_config("a", "b", max_epochs=2), [8, 12]).length == 40
    with pytest.raises(ConfigError, match=r"no dataset is left after step 10 of 11.*max_epochs is 2.*--steps 10"):
        order_of(_config("a:0.5", "b:0.5", steps=11, max_epochs=2), [8, 12])


def test_a_weighted_dataset_without_sequences_is_refused() -> None:
    with pytest.raises(ConfigError, match="b has a weight, but no sequences in the split 'train'"):
        order_of(_config("a:0.5", "b:0.5"), [8, 0])
    order_of(_config("a", "b"), [8, 0])
