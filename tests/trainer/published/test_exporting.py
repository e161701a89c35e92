from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from schemas.errors import ConfigError
from schemas.weight_files.gguf import read_header
from tests.support.published import models
from tests.support.published.checkpoints import arrays, description, imported
from tests.support.published.models import TEXT_SIZE, VISION_SIZE, random_state, tiny, write_hf
from tests.support.tokenizer_json import save, tokenizer_json
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.rope_scaling import frequencies
from trainer.published.exporting import ExportConfig, export_model
from trainer.published.files.msgpack import read_msgpack

pytestmark = pytest.mark.slow
LONG = {"factor": 4.0, "original_max_position_embeddings": 32}
CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": ({}, {}),
    "llama-3.1": (
        {},
        {"rope_scaling": {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **LONG}},
    ),
    "llama-with-biases": ({"qkv_bias": True, "output_bias": True}, {}),
    "qwen2": ({"qkv_bias": True, "tied_heads": True, "norm_eps": 1e-6}, {"rope_scaling": {"type": "yarn", **LONG}}),
    "qwen3": ({"qk_norm": True, "head_dim": 8}, {"rope_scaling": {"type": "linear", "factor": 2.0}}),
}


def exported(run: Path, out: Path, **options: Any) -> Path:
    export_model(run, ExportConfig(out=out, **options))
    return out


@pytest.mark.parametrize("name", CONFIGS)
def test_import_and_export_keep_every_bit_and_the_configuration(name: str, tmp_path: Path) -> None:
    config, state = tiny(**CONFIGS[name][0]), random_state(tiny(**CONFIGS[name][0]))
    source = write_hf(tmp_path / "hf", config, state, **CONFIGS[name][1])
    run = imported(source, tmp_path / "run")
    out = exported(run, tmp_path / "out", shard_gb=5e-6)
    shards = sorted(out.glob("model-*.safetensors"))
    assert len(shards) > 2
    found = {key: value for path in shards for key, value in load_file(path).items()}
    assert found.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    again = imported(out, tmp_path / "again")
    assert description(again).model == description(run).model
    assert json.loads((out / "generation_config.json").read_text()) == {"bos_token_id": 1, "eos_token_id": 2}


@pytest.mark.parametrize("tied", [False, True])
def test_text_and_vision_become_joint_tables_and_come_apart_again(tied: bool, tmp_path: Path) -> None:
    config = tiny(tied_heads=tied)
    run = imported(write_hf(tmp_path / "hf", config, random_state(config)), tmp_path / "run", vision_size=8)
    out = exported(run, tmp_path / "out")
    found, stored = load_file(out / "model.safetensors"), arrays(run)
    joint = np.concatenate([stored["text_embedding"], stored["vision_embedding"]])
    np.testing.assert_array_equal(found["model.embed_tokens.weight"], joint)
    assert ("lm_head.weight" in found) is not tied
    assert json.loads((out / "config.json").read_text())["vocab_size"] == TEXT_SIZE + 10
    vision = json.loads((out / "vision_config.json").read_text())
    assert (vision["text_size"], vision["vision_size"], vision["eof_id"], vision["eov_id"]) == (TEXT_SIZE, 10, 45, 46)
    again = imported(out, tmp_path / "again")
    assert description(again).vocabulary == description(run).vocabulary
    restored = arrays(again)
    assert restored.keys() == stored.keys()
    for name in stored:
        np.testing.assert_array_equal(restored[name], stored[name], err_msg=name)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("codes", [0, 8])
def test_gguf_keeps_every_bit_and_the_frequencies(name: str, codes: int, tmp_path: Path) -> None:
    config = tiny(**CONFIGS[name][0])
    run = imported(
        write_hf(tmp_path / "hf", config, random_state(config), **CONFIGS[name][1]), tmp_path / "run", vision_size=codes
    )
    again = imported(exported(run, tmp_path / "out", format="gguf") / "model.gguf", tmp_path / "again")
    first, second = description(run), description(again)
    assert second.vocabulary == first.vocabulary
    assert isinstance(first.model, LlamaConfig)
    assert isinstance(second.model, LlamaConfig)
    if name == "llama-3.1":  # becomes a list of divisors
        both = [
            frequencies(head_dim=4, theta=model.rope_theta, scaling=model.rope_scaling)
            for model in (first.model, second.model)
        ]
        np.testing.assert_allclose(*both, rtol=1e-6)
        second = replace(second, model=replace(second.model, rope_scaling=first.model.rope_scaling))
    assert second.model == first.model
    stored = arrays(again)
    for key, value in arrays(run).items():
        np.testing.assert_array_equal(stored[key], value, err_msg=key)


def test_gguf_has_the_text_tokenizer_or_no_vocabulary(tmp_path: Path) -> None:
    source = write_hf(tmp_path / "hf", tiny(), random_state(tiny(), text_size=400))
    plain = exported(imported(source, tmp_path / "a"), tmp_path / "plain", format="gguf")
    assert read_header(plain / "model.gguf").metadata["tokenizer.ggml.model"] == "no_vocab"
    save(tokenizer_json("gpt2", ["In the beginning <vision> </vision>"] * 9, size=400), source)
    out = exported(imported(source, tmp_path / "b"), tmp_path / "out", format="gguf")
    assert read_header(out / "model.gguf").metadata["tokenizer.ggml.pre"] == "gpt-2"
    (source / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer.json: the text tokenizer is malformed"):
        exported(imported(source, tmp_path / "c"), tmp_path / "other", format="gguf")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("scan", [True, False])
def test_lwm_layouts_keep_every_bit_in_both_directions(scan: bool, tmp_path: Path) -> None:
    config = tiny(kv_heads=4)
    tree = models.lwm_tree(config, random_state(config), scan=0 if scan else None)
    run = imported(f"params::{models.write_stream(tmp_path / 'params', tree)}", tmp_path / "run", heads=4)
    out = exported(run, tmp_path / "out", format="lwm", scan=scan)
    found = models.read_stream(out / "params")
    assert found.keys() == tree.keys()
    for name, value in tree.items():
        if name.startswith(("vision_head", "transformer/vte")):
            found[name] = found[name][:VISION_SIZE] if "vte" in name else found[name][:, :VISION_SIZE]
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert read_msgpack(out / "params")["transformer/vte/embedding"].shape == (256, 16)
    with pytest.raises(ConfigError, match="give --vision-size"):
        imported(f"params::{out / 'params'}", tmp_path / "unclear", heads=4)
    again = imported(f"params::{out / 'params'}", tmp_path / "again", heads=4, vision_size=VISION_SIZE - 2)
    for name, value in arrays(run).items():
        np.testing.assert_array_equal(arrays(again)[name], value, err_msg=name)


def test_half_precision_is_rounded_to_nearest(tmp_path: Path) -> None:
    state = random_state(tiny())
    run = imported(write_hf(tmp_path / "hf", tiny(), state), tmp_path / "run")
    out = exported(run, tmp_path / "out", dtype="float16")
    found = load_file(out / "model.safetensors")
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value.astype(np.float16))
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "float16"


def test_a_model_that_lwm_cannot_express_is_rejected_before_anything_is_written(tmp_path: Path) -> None:
    run = imported(write_hf(tmp_path / "hf", tiny(), random_state(tiny())), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"cannot express a model with kv_heads = 2: export it with --format hf"):
        exported(run, tmp_path / "out", format="lwm")
    assert not (tmp_path / "out").exists()


def test_the_tokenizer_of_the_import_is_included_and_another_is_rejected(tmp_path: Path) -> None:
    source = write_hf(tmp_path / "hf", tiny(), random_state(tiny()))
    (source / "tokenizer.json").write_text("{}")
    (source / "generation_config.json").write_text('{"top_k": 4}')
    run = imported(source, tmp_path / "run")
    out = exported(run, tmp_path / "out")
    assert (out / "tokenizer.json").read_text() == "{}"
    assert (out / "generation_config.json").read_text() == '{"top_k": 4}'
    (tmp_path / "tokenizer.json").write_text("[]")
    for path, message in ((tmp_path / "tokenizer.json", "is not the text tokenizer of the model"), (run, "must be or")):
        with pytest.raises(ConfigError, match=message):
            exported(run, tmp_path / "other", tokenizer=path)


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    run = imported(write_hf(tmp_path / "hf", tiny(), random_state(tiny())), tmp_path / "run")
    with pytest.raises(ConfigError, match="exists and is not an empty folder"):
        exported(run, tmp_path / "hf")
    with pytest.raises(ConfigError, match="is not the output of `longreel train`"):
        exported(tmp_path / "hf", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "onnx"}, "format must be one of hf, lwm, gguf"),
        ({"dtype": "int8"}, "dtype must be float32 or bfloat16"),
        ({"format": "lwm", "dtype": "float16"}, "or float16 for hf and gguf"),
        ({"shard_gb": 0}, "shard_gb must be positive"),
    ],
)
def test_invalid_options_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportConfig(out=Path("out"), **options)
