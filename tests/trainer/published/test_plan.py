from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from tests.support.published.models import TEXT_SIZE, random_state, tiny, write_hf
from trainer.model.registry import abstract
from trainer.published.plan import array_shapes, pieces, tensor_dtypes
from trainer.published.source import open_source
from trainer.run.checkpoint import named


@pytest.mark.parametrize(
    "changes", [{}, {"tied_heads": True}, {"qkv_bias": True, "output_bias": True}, {"qk_norm": True, "head_dim": 6}]
)
@pytest.mark.parametrize("vision_size", [0, 10])
def test_shapes_are_those_of_the_model(changes: dict[str, Any], vision_size: int) -> None:
    config = tiny(**changes)
    _, shapes = abstract(config, text_size=37, vision_size=vision_size, mesh=None)
    expected = {name: leaf.shape for name, leaf in named(shapes).items()}
    assert array_shapes(config, text_size=37, vision_size=vision_size) == expected


def test_every_array_has_a_piece_for_every_layer(tmp_path: Path) -> None:
    source = open_source(str(write_hf(tmp_path, tiny(), random_state(tiny()))))
    found = pieces(source, text_size=TEXT_SIZE, vision_size=0)
    shapes = array_shapes(tiny(), text_size=TEXT_SIZE, vision_size=0)
    assert {piece.name for piece in found} == shapes.keys()
    stacked = [(piece.name, piece.layer) for piece in found if piece.layer is not None]
    assert len(stacked) == len(set(stacked)) == 2 * 9
    assert tensor_dtypes(source) == {"F32": len(found)}


def test_a_tensor_of_another_architecture_is_an_error(tmp_path: Path) -> None:
    state = random_state(tiny(qk_norm=True))
    source = open_source(str(write_hf(tmp_path, tiny(), state)))
    with pytest.raises(ConfigError, match="has 4 tensors that its configuration does not account for"):
        pieces(source, text_size=TEXT_SIZE, vision_size=0)


def test_buffers_of_old_files_are_ignored(tmp_path: Path) -> None:
    state = random_state(tiny())
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = state["model.norm.weight"][:2]
    source = open_source(str(write_hf(tmp_path, tiny(), state)))
    assert pieces(source, text_size=TEXT_SIZE, vision_size=0)
