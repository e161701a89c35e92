from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.published.checkpoints import arrays, description, imported
from tests.support.published.models import random_state, tiny, write_hf
from trainer.published import names
from trainer.published.outputs import Tables, joint_outputs
from trainer.run.arrays import ArrayReader

pytestmark = pytest.mark.slow


def test_outputs_have_every_parameter_once(tmp_path: Path) -> None:
    run = imported(write_hf(tmp_path / "hf", tiny(), random_state(tiny())), tmp_path / "run", vision_size=8)
    tables = Tables(tiny(), description(run).vocabulary)
    outputs = joint_outputs(ArrayReader(run / "checkpoints" / "0" / "params"), tables, names.gguf("llama"))
    assert len({output.name for output in outputs}) == len(outputs)
    assert sum(output.size_bytes("float32") // 4 for output in outputs) == tables.parameters
    stored = arrays(run)
    joint = np.concatenate([stored["text_head"], stored["vision_head"]])
    found = next(output for output in outputs if output.name == "output.weight")
    np.testing.assert_array_equal(np.concatenate(list(found.blocks())), joint)
