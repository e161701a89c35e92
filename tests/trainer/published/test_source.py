from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from tests.support.published import models
from tests.support.published.models import TEXT_SIZE, random_state, tiny
from trainer.published.names import TEXT_EMBEDDING, VISION_EMBEDDING
from trainer.published.source import open_source


def test_every_form_of_a_source_is_recognized(tmp_path: Path) -> None:
    config, state = tiny(kv_heads=4), random_state(tiny(kv_heads=4))
    hf = models.write_hf(tmp_path / "hf", config, state)
    (tmp_path / "one").mkdir()
    sources = {
        str(hf): "huggingface",
        str(hf / "model.safetensors"): "huggingface",
        str(models.write_hf(tmp_path / "shards", config, state, shards=2)): "huggingface",
        str(models.write_torch(tmp_path / "torch", config, state)): "huggingface",
        str(models.write_meta(tmp_path / "meta", config, state)): "meta",
        str(tmp_path / "meta" / "consolidated.00.pth"): "meta",
        str(models.write_gguf(tmp_path / "one" / "m.bin", config, state)): "gguf",
        f"params::{models.write_stream(tmp_path / 's', models.lwm_tree(config, state))}": "lwm",
        str(models.write_flax(tmp_path / "t", models.lwm_tree(config, state))): "lwm",
    }
    for source, kind in sources.items():
        found = open_source(source, heads=4)
        assert (found.kind, found.table_rows(TEXT_EMBEDDING)) == (kind, TEXT_SIZE)
    (tmp_path / "one" / "m.bin").rename(tmp_path / "one" / "m.gguf")
    assert open_source(str(tmp_path / "one")).kind == "gguf"


def test_ids_of_the_ends_come_from_the_source(tmp_path: Path) -> None:
    hf = open_source(str(models.write_hf(tmp_path / "hf", tiny(), random_state(tiny()))))
    assert (hf.bos_id, hf.eos_id) == (1, 2)
    none = open_source(str(models.write_hf(tmp_path / "hf", tiny(), random_state(tiny()), bos_token_id=None)))
    assert none.bos_id is None


def test_a_rotary_base_can_be_given(tmp_path: Path) -> None:
    source = str(models.write_hf(tmp_path / "hf", tiny(), random_state(tiny())))
    assert open_source(source, rope_theta=5e7).config.rope_theta == 5e7


def test_joint_tables_need_as_many_rows_as_their_description(tmp_path: Path) -> None:
    source = models.write_hf(tmp_path / "hf", tiny(), random_state(tiny()))
    ids = {"bos_id": 1, "eos_id": 2, "begin_vision": [3], "end_vision": [4], "text_sha256": "", "vision_sha256": ""}
    described = {"softmax": "joint", "vocabulary": {"text_size": 27, "codebook_size": 8, **ids}}
    path = source / "vision_config.json"
    path.write_text(json.dumps(described))
    found = open_source(str(source))
    assert (found.table_rows(TEXT_EMBEDDING), found.table_rows(VISION_EMBEDDING)) == (27, 10)
    for wrong in (
        described | {"vocabulary": described["vocabulary"] | {"text_size": 28}},
        described | {"softmax": "other"},
        described | {"vocabulary": 3},
        {},
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ConfigError, match=r"vision_config\.json does not describe the tables of the model"):
            open_source(str(source))


def test_what_is_not_a_model_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    for source, message in (
        (tmp_path / "empty", "has none of model.safetensors.index.json"),
        (tmp_path / "missing", "missing does not exist"),
        (tmp_path / "text", "is not a supported file of weights"),
        (f"other::{tmp_path}", "before :: stands one of params, trainstate_params, flax_params, got 'other'"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_source(str(source))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"hidden_size": 1, "hidden_size": 2}', '{"architectures": 3}'])
def test_a_malformed_configuration_is_named(content: str, tmp_path: Path) -> None:
    source = models.write_hf(tmp_path / "hf", tiny(), random_state(tiny()))
    (source / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json: "):
        open_source(str(source))
    (source / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config\.json does not exist"):
        open_source(str(source))
