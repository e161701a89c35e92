from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from longreel import main
from schemas.runs import count_progress
from schemas.storage.location import located
from tests.support.published.checkpoints import arrays
from tests.support.published.models import random_state, tiny, write_hf
from tests.support.training.training_dataset import VOCABULARY, write_dataset
from trainer.run.checkpoint import named
from trainer.run.config import TrainConfig
from trainer.run.setup import Setup
from trainer.run.state import load_params

pytestmark = pytest.mark.slow


def test_a_model_imported_for_a_dataset_initializes_a_run_and_is_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count_progress, "_PLAIN_S", 0.0)
    source = write_hf(tmp_path / "hf", tiny(), random_state(tiny()))
    dataset = write_dataset(tmp_path / "data", context=64)
    model = str(tmp_path / "model")
    assert main(["import-model", str(source), "--out", model, "--dataset", str(dataset), "--mesh.fsdp", "2"]) == 0
    said = capsys.readouterr().err
    assert "import-model: text tables: 37 rows of the source; rows 37 to 63 are new" in said
    assert re.search(r"import-model: ([\d,]+) of \1 parameters", said)
    assert arrays(Path(model))["vision_head"].shape == (VOCABULARY.vision_size, 16)
    setup = Setup.of(
        TrainConfig(dataset=(located(dataset),), out=tmp_path / "run", init_from=located(Path(model)), batch_size=8)
    )
    setup.check_init_from()
    assert setup.description.model == replace(tiny(), tile=128, chunk=256)
    params = named(load_params(setup.plan, Path(model)))
    np.testing.assert_array_equal(params["layers/query"], arrays(Path(model))["layers/query"])
    assert main(["export-model", model, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "export-model: step 0, " in said
    assert "SHA-256" in said
    assert re.search(r"export-model: ([\d,]+) of \1 parameters", said)
    assert (tmp_path / "out" / "vision_config.json").exists()
    assert main(["import-model", str(tmp_path / "out"), "--out", str(tmp_path / "again")]) == 0


def test_errors_are_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-model", str(tmp_path / "missing"), "--out", str(tmp_path / "out")]) == 1
    assert "missing does not exist" in capsys.readouterr().err
    assert main(["export-model", str(tmp_path / "missing"), "--out", str(tmp_path / "out")]) == 1
    assert "is not the output of `longreel train`" in capsys.readouterr().err
