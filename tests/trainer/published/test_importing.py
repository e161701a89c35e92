from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from schemas.errors import ConfigError
from schemas.files import read_json
from schemas.weight_files.chat_templates import LWM
from schemas.weight_files.tokenizer_files import read_tokenizer_files
from tests.support.published import models
from tests.support.published.checkpoints import arrays, imported, loaded, logits, require_same
from tests.support.published.models import TEXT_SIZE, VISION_SIZE, tiny
from tests.support.published.numpy_forward import lwm_logits
from tests.support.tokenizer_json import save, tokenizer_json

pytestmark = pytest.mark.slow


def test_every_format_of_the_same_weights_gives_the_same_checkpoint(tmp_path: Path) -> None:
    config = tiny()
    state = models.random_state(config)
    expected = arrays(imported(models.write_hf(tmp_path / "hf", config, state), tmp_path / "a"))
    np.testing.assert_array_equal(expected["text_embedding"], state["model.embed_tokens.weight"])
    query = state["model.layers.1.self_attn.q_proj.weight"].T.reshape(16, 4, 4)
    np.testing.assert_array_equal(expected["layers/query"][1], query)
    sources: dict[str, Path | str] = {
        "sharded": models.write_hf(tmp_path / "sharded", config, state, shards=3),
        "torch": models.write_torch(tmp_path / "torch", config, state),
        "gguf": models.write_gguf(tmp_path / "m.gguf", config, state),
        "gguf-of-qwen": models.write_gguf(tmp_path / "q.gguf", config, state, architecture="qwen2"),
        "meta": models.write_meta(tmp_path / "meta", config, state),
        "meta-of-llama-2": models.write_meta(tmp_path / "meta2", config, state, split_ids=False),
        "one-file": models.write_hf(tmp_path / "hf", config, state) / "model.safetensors",
    }
    for name, source in sources.items():
        require_same(arrays(imported(source, tmp_path / f"of-{name}")), expected)


def test_every_layout_of_lwm_gives_the_same_checkpoint_and_its_forward(tmp_path: Path) -> None:
    config = tiny(kv_heads=4, norm_eps=1e-6, rope_theta=5e7)
    tree = models.lwm_tree(config, models.random_state(config), scan=0)
    unscanned = models.lwm_tree(config, models.random_state(config), scan=None)
    second = models.lwm_tree(config, models.random_state(config), scan=1)
    stream = models.write_stream(tmp_path / "params", tree)
    run = imported(f"params::{stream}", tmp_path / "a", heads=4)
    expected = arrays(run)
    others = [
        f"params::{models.write_stream(tmp_path / 'b', unscanned)}",
        f"params::{models.write_stream(tmp_path / 'c', second)}",
        f"trainstate_params::{models.write_stream(tmp_path / 'd', tree, prefix=('params', 'params'))}",
        f"flax_params::{models.write_flax(tmp_path / 'e', tree)}",
        str(stream),
    ]
    for i, source in enumerate(others):
        require_same(arrays(imported(source, tmp_path / f"out-{i}", heads=4)), expected)
    model, about = loaded(run)
    assert (about.vocabulary.text_size, about.vocabulary.codebook_size) == (TEXT_SIZE, VISION_SIZE - 2)
    assert about.model.softmax == "by_modality"
    tokens = np.random.default_rng(0).integers(0, TEXT_SIZE + VISION_SIZE, (2, 24))
    theirs = lwm_logits(unscanned, tokens, heads=4, text_size=TEXT_SIZE, theta=5e7, eps=1e-6)
    np.testing.assert_allclose(logits(model, tokens), theirs, atol=1e-5)


@pytest.mark.parametrize("own", [None, "{{ messages }}"])
def test_an_imported_lwm_has_its_prompt_unless_the_tokenizer_brings_one(tmp_path: Path, own: str | None) -> None:
    config = tiny(kv_heads=4, norm_eps=1e-6)
    stream = models.write_stream(tmp_path / "params", models.lwm_tree(config, models.random_state(config), scan=0))
    save(tokenizer_json("gpt2", ["In the beginning"], size=TEXT_SIZE), tmp_path, config={"chat_template": own})
    run = imported(f"params::{stream}", tmp_path / "run", heads=4)
    assert read_tokenizer_files(run / "text_tokenizer").config["chat_template"] == (own or LWM)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "BF16"])
def test_quantized_matrices_are_read_as_the_gguf_package_reads_them(kind: str, tmp_path: Path) -> None:
    config = tiny(dim=64, head_dim=16, ff_dim=32)
    state = models.random_state(config)
    name = gguf.GGMLQuantizationType[kind]
    rounded = {
        key: gguf.quants.dequantize(gguf.quants.quantize(value, name), name) if value.ndim == 2 else value
        for key, value in state.items()
    }
    # Side by side and back moves whole rows, so it does not change what a row is quantized to.
    expected = arrays(imported(models.write_hf(tmp_path / "hf", config, rounded), tmp_path / "a"))
    path = models.write_gguf(tmp_path / "m.gguf", config, state, quantize=name)
    require_same(arrays(imported(path, tmp_path / "b")), expected)


def test_the_tokenizer_of_the_source_is_kept_and_identifies_the_vocabulary(tmp_path: Path) -> None:
    source = models.write_hf(tmp_path / "hf", tiny(), models.random_state(tiny()))
    (source / "tokenizer.json").write_text("{}")
    (source / "generation_config.json").write_text("{}")
    run = imported(source, tmp_path / "a")
    assert sorted(path.name for path in (run / "text_tokenizer").iterdir()) == [
        "generation_config.json",
        "tokenizer.json",
    ]
    about = loaded(run)[1].vocabulary
    assert about.text_sha256 == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert (about.bos_id, about.eos_id, about.vision_size) == (1, 2, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": np.int32}, "has the dtype I32, which is not supported"),
        ({"num_hidden_layers": 3}, r"has no tensor model\.layers\.2\."),
        ({"num_hidden_layers": 1}, "has 9 tensors that its configuration does not account for"),
        ({"intermediate_size": 32}, r"must have the shape \[32, 16\], got \[24, 16\]"),
        ({"tie_word_embeddings": True, "num_key_value_heads": 4}, r"must have the shape \[16, 16\], got \[8, 16\]"),
    ],
)
def test_a_source_whose_tensors_do_not_fit_its_configuration_writes_nothing(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    source = models.write_hf(tmp_path / "hf", tiny(), models.random_state(tiny()), **change)
    with pytest.raises(ConfigError, match=message):
        imported(source, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_missing_head_is_an_error_and_a_head_next_to_tied_tables_is_ignored(tmp_path: Path) -> None:
    state = models.random_state(tiny())
    source = models.write_hf(tmp_path / "tied", tiny(tied_heads=True), state)
    assert "text_head" not in arrays(imported(source, tmp_path / "a"))
    del state["lm_head.weight"]
    with pytest.raises(ConfigError, match=r"has no tensor lm_head\.weight"):
        imported(models.write_hf(tmp_path / "hf", tiny(), state), tmp_path / "b")


def test_a_folder_that_has_checkpoints_is_left_alone(tmp_path: Path) -> None:
    source = models.write_hf(tmp_path / "hf", tiny(), models.random_state(tiny()))
    run = imported(source, tmp_path / "a")
    with pytest.raises(ConfigError, match="already has a folder checkpoints/: choose another --out"):
        imported(source, run)


def test_an_interrupted_import_is_started_again(tmp_path: Path) -> None:
    source = models.write_hf(tmp_path / "hf", tiny(), models.random_state(tiny()))
    left = tmp_path / "a" / ".import-unfinished" / "0" / "params"
    left.mkdir(parents=True)
    (left / "manifest.ocdbt").write_bytes(b"cut")
    assert arrays(imported(source, tmp_path / "a"))
    assert not left.exists()


def test_the_record_names_every_file_of_the_source_with_its_hash(tmp_path: Path) -> None:
    source = models.write_hf(tmp_path / "hf", tiny(), models.random_state(tiny()), shards=2)
    record = read_json(imported(source, tmp_path / "a") / "import.json")
    assert [x["name"] for x in record["files"]] == sorted(path.name for path in source.iterdir())
    assert all(len(x["sha256"]) == 64 for x in record["files"])
    assert json.dumps(record["format"]) == '"huggingface"'
