"""Exports loaded by transformers itself, where the extra `reference` is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.published.checkpoints import imported, loaded, logits
from tests.support.published.models import TEXT_SIZE, random_state, tiny, write_hf
from trainer.published.exporting import ExportConfig, export_model

torch = pytest.importorskip("torch", reason="pip install 'longreel[reference]'")
transformers = pytest.importorskip("transformers", reason="pip install 'longreel[reference]'")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
_DOCS = Path(__file__).parents[3] / "docs" / "published_models.md"
_LONG = {"factor": 4.0, "original_max_position_embeddings": 16}
CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": ({}, {}),
    "tied": ({"tied_heads": True}, {}),
    "llama3": ({}, {"rope_scaling": {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **_LONG}}),
    "yarn": ({"qkv_bias": True}, {"rope_scaling": {"rope_type": "yarn", **_LONG}}),
    "biases": ({"qkv_bias": True, "output_bias": True}, {}),
    "qwen3": ({"qk_norm": True, "head_dim": 8}, {}),
}


def exported(tmp_path: Path, name: str = "llama", **options: Any) -> tuple[Path, Path]:
    config = tiny(**CONFIGS[name][0])
    source = write_hf(tmp_path / "hf", config, random_state(config), **CONFIGS[name][1])
    run = imported(source, tmp_path / "run", **options)
    export_model(run, ExportConfig(out=tmp_path / "out"))
    return run, tmp_path / "out"


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("codes", [0, 8])
def test_transformers_gives_the_logits_of_the_run(name: str, codes: int, tmp_path: Path) -> None:
    run, out = exported(tmp_path, name, vision_size=codes)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        out, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    model, about = loaded(run)
    tokens = np.random.default_rng(0).integers(0, about.vocabulary.size, (2, 40))
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens)).logits.numpy()
    np.testing.assert_allclose(logits(model, tokens), expected, atol=1e-4)


def test_the_processor_of_the_documentation_generates_frames(tmp_path: Path) -> None:
    _, out = exported(tmp_path, vision_size=8)
    code = re.search(r"```python\n(.+?)```", _DOCS.read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    ids = torch.tensor([[1, 5, 6], [1, 7, 8]])
    grammar = names["FrameGrammar"](out, prompt_length=3, frames=2, frame_tokens=4)
    made = model.generate(ids, logits_processor=[grammar], max_new_tokens=12, do_sample=True, eos_token_id=-1)
    new = made[:, 3:].numpy()
    codes = np.delete(new[:, :10], [4, 9], axis=1)
    assert ((codes >= TEXT_SIZE) & (codes < TEXT_SIZE + 8)).all()
    assert (new[:, 4] == TEXT_SIZE + 8).all()
    assert (new[:, 9] == TEXT_SIZE + 9).all()
    assert (new[:, 10:] < TEXT_SIZE).all()
