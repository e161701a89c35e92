from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.published import models
from tests.support.published.checkpoints import arrays, imported, require_same
from tests.support.published.models import tiny
from trainer.config import MeshConfig

pytestmark = pytest.mark.slow


def test_the_checkpoint_is_the_same_for_every_mesh(tmp_path: Path) -> None:
    config = tiny(tied_heads=True)
    source = models.write_hf(tmp_path / "hf", config, models.random_state(config), dtype=np.float16)
    expected = arrays(imported(source, tmp_path / "a", vision_size=8))
    for i, mesh in enumerate((MeshConfig(fsdp=4, tensor=2), MeshConfig(sequence=8))):
        require_same(arrays(imported(source, tmp_path / f"m{i}", vision_size=8, mesh=mesh)), expected)
    with pytest.raises(ConfigError, match="tensor = 4 does not divide the model's kv_heads = 2"):
        imported(source, tmp_path / "m9", mesh=MeshConfig(tensor=4))


def test_new_rows_are_drawn_on_the_scale_of_the_known_ones(tmp_path: Path) -> None:
    config = tiny(dim=64, head_dim=16)
    source = models.write_hf(tmp_path / "hf", config, models.random_state(config))
    found = arrays(imported(source, tmp_path / "a", vision_size=1000))
    for kind in ("embedding", "head"):
        known, new = found[f"text_{kind}"], found[f"vision_{kind}"]
        assert new.shape == (1002, 64)
        assert 0.9 < new.std() / known.std() < 1.1
        np.testing.assert_allclose(new.mean(axis=0), known.mean(axis=0), atol=0.02)
        assert len(np.unique(new, axis=0)) == 1002
    again = arrays(imported(source, tmp_path / "b", vision_size=1000))
    require_same(again, found)
    other = arrays(imported(source, tmp_path / "c", vision_size=1000, seed=1))
    assert not np.array_equal(other["vision_head"], found["vision_head"])
