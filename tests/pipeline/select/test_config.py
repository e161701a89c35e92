"""The options of select: bounds, how they are printed, and how they are stored."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from pipeline.select.config import SelectConfig, as_options, config_from_json
from pipeline.select.keep_best import KeepConfig
from schemas.errors import ConfigError
from tests.support.survey_rows import select_config

CONFIGS = {
    "": SelectConfig(),
    "--limit a=1: --limit b=:2 --val-fraction 0.1": select_config("a=1:", "b=:2", val_fraction=0.1),
    "--licenses MIT 'a b'": select_config(licenses=("MIT", "a b")),
    "--no-remove-near-duplicates --prefer length": SelectConfig(
        keep=KeepConfig(remove_near_duplicates=False, prefer=("length",))
    ),
}


@pytest.mark.parametrize("options", CONFIGS)
def test_options_are_printed_as_on_the_command_line(options: str) -> None:
    assert as_options(CONFIGS[options]) == options


@pytest.mark.parametrize("options", CONFIGS)
def test_a_stored_configuration_reads_back(options: str) -> None:
    assert config_from_json(json.loads(json.dumps(asdict(CONFIGS[options])))) == CONFIGS[options]


@pytest.mark.parametrize("val_fraction", [-0.1, 1.0])
def test_the_held_out_fraction_must_be_below_one(val_fraction: float) -> None:
    with pytest.raises(ConfigError, match=rf"val_fraction must be in \[0, 1\), got {val_fraction}"):
        SelectConfig(val_fraction=val_fraction)
