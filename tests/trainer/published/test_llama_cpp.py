"""Exports to GGUF loaded by llama.cpp itself, where the extra `reference` is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.published.checkpoints import imported, loaded, logits
from tests.support.published.llama_cpp import LlamaCpp
from tests.support.published.models import random_state, tiny, write_hf
from tests.support.tokenizer_json import save, tokenizer_json
from trainer.published.exporting import ExportConfig, export_model

pytest.importorskip("xllamacpp", reason="pip install 'longreel[reference]'")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
_IDS = 400
_TOKENIZER = tokenizer_json("gpt2", ["In the beginning was the word, and 123 words more."] * 9, size=_IDS)
_LONG = {"factor": 4.0, "original_max_position_embeddings": 16}
_DIVISORS = [1.0, 1.5, 2.0, 4.0]
CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": ({}, {}),
    "tied": ({"tied_heads": True}, {}),
    "linear": ({}, {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    "llama3": ({}, {"rope_scaling": {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **_LONG}}),
    "longrope": (
        {},
        {"rope_scaling": {"rope_type": "longrope", "short_factor": _DIVISORS, "long_factor": _DIVISORS, **_LONG}},
    ),
    "yarn": ({}, {"rope_scaling": {"rope_type": "yarn", **_LONG}}),
    "yarn-with-attention-factor": ({}, {"rope_scaling": {"rope_type": "yarn", "attention_factor": 1.2, **_LONG}}),
    "biases": ({"qkv_bias": True, "output_bias": True}, {}),
    "qwen2": ({"qkv_bias": True}, {}),
    "qwen3": ({"qk_norm": True, "head_dim": 16}, {}),
}


def exported(tmp_path: Path, name: str, **options: Any) -> tuple[Path, Path]:
    config = tiny(**{"dim": 32, "head_dim": 8, **CONFIGS[name][0]})
    source = write_hf(tmp_path / "hf", config, random_state(config, text_size=_IDS), **CONFIGS[name][1])
    save(_TOKENIZER, source)
    run = imported(source, tmp_path / "run", **options)
    export_model(run, ExportConfig(out=tmp_path / "out", format="gguf"))
    return run, tmp_path / "out" / "model.gguf"


@pytest.mark.parametrize("name", CONFIGS)
def test_llama_cpp_gives_the_log_likelihoods_of_the_run(name: str, tmp_path: Path) -> None:
    run, out = exported(tmp_path, name, vision_size=8)
    model, about = loaded(run)
    ids = about.vocabulary.size
    assert ids == _IDS + 10
    tokens = np.random.default_rng(0).integers(0, ids, 40)
    ours = logits(model, tokens[None])[0, -1].astype(np.float64)
    found = LlamaCpp(out, letter=_TOKENIZER.token_to_id("e")).log_likelihoods(tokens.tolist(), ids=ids)
    np.testing.assert_allclose(found, ours - np.log(np.exp(ours).sum()), atol=1e-4)
