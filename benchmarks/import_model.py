"""Measures the memory and the time of importing and exporting a model, on synthetic weights with LLaMA-2-7B's layers.

    python benchmarks/import_model.py [--smoke] [--gigabytes 8] [--folder DIR] [--out import_model.json]

Random float32 weights are written as sharded safetensors, then `import-model` and `export-model` run in processes of
their own. Reported are seconds, the peak of resident memory, and the bound of it: twice the largest tensor plus 500 MB.
The program fails if the import exceeds the bound. Files take three times the size of the model.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from schemas.files import write_text
from trainer.model.llama.config import LlamaConfig
from trainer.published import names
from trainer.published.configs.hugging_face import write_config
from trainer.published.files.writers import Output, write_safetensors
from trainer.published.plan import table_shapes

IDS = 32000
BASE_BYTES = 500_000_000  # of the bound
_VARIES = 60_000_000  # the peak of a smoke run is 504 to 550 MB; its whole model has 136 MB
_BLOCK = 1 << 22  # values


@dataclass(frozen=True)
class Options:
    """Measure importing and exporting."""

    gigabytes: float = 8.0  # of the model
    shard_gb: float = 2.0
    folder: Path | None = None  # for the files; a temporary one by default
    smoke: bool = False  # 120 MB, in a few seconds, with the bound scaled to it
    out: Path | None = None  # write the figures to this JSON file


def model_of(gigabytes: float, *, dim: int, ff_dim: int, ids: int) -> LlamaConfig:
    """Return a model with as many layers as fit into the size."""
    layer = 4 * (4 * dim * dim + 3 * dim * ff_dim)
    layers = max(1, round((gigabytes * 1e9 - 8 * ids * dim) / layer))
    heads = dim // 128
    return LlamaConfig(dim=dim, layers=layers, heads=heads, kv_heads=heads, head_dim=128, ff_dim=ff_dim)


def random_blocks(shape: tuple[int, ...], seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield random values of a tensor."""
    rng, left = np.random.default_rng(seed), int(np.prod(shape))
    while left:
        yield rng.standard_normal(min(left, _BLOCK), np.float32) * np.float32(0.02)
        left -= min(left, _BLOCK)


def write_model(folder: Path, model: LlamaConfig, *, ids: int, shard_gb: float) -> int:
    """Write the model; return the bytes of its largest tensor."""
    naming = names.HUGGING_FACE
    found = [naming.of_table(name, shape) for name, shape in table_shapes(model, text_size=ids, vision_size=0).items()]
    found += [each for i in range(model.layers) for each in naming.of_layer(model, i).values()]
    outputs = [
        Output(name=name, shape=layout.published, blocks=partial(random_blocks, layout.published, i))
        for i, (name, layout) in enumerate(found)
    ]
    write_safetensors(folder, outputs, dtype="float32", shard_bytes=int(shard_gb * 1e9))
    config = write_config(model, vocab_size=ids, bos_id=1, eos_id=2, dtype="float32")
    write_text(folder / "config.json", json.dumps(config))
    return max(output.size_bytes("float32") for output in outputs)


def measured(*arguments: str) -> tuple[float, int]:
    """Run a command of longreel; return its seconds and its peak of resident memory in bytes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-m", "longreel", *arguments], check=True, stderr=subprocess.DEVNULL)
    # The largest of all children so far: each command is measured before one that needs more.
    return time.perf_counter() - started, 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def run(options: Options, folder: Path) -> dict[str, float]:
    """Write, import and export a model; return the figures."""
    gigabytes = 0.12 if options.smoke else options.gigabytes
    dim, ff_dim, ids = (1024, 2816, 4000) if options.smoke else (4096, 11008, IDS)
    model = model_of(gigabytes, dim=dim, ff_dim=ff_dim, ids=ids)
    started = time.perf_counter()
    source = folder / "source"
    source.mkdir(parents=True)
    largest = write_model(source, model, ids=ids, shard_gb=options.shard_gb)
    size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    figures = {"model_bytes": float(size), "largest_tensor_bytes": float(largest)}
    figures["write_s"] = time.perf_counter() - started
    figures["import_s"], figures["import_peak_bytes"] = measured(
        "import-model", str(source), "--out", str(folder / "run")
    )
    figures["export_s"], figures["export_peak_bytes"] = measured(
        "export-model", str(folder / "run"), "--out", str(folder / "exported")
    )
    figures["bound_bytes"] = 2.0 * largest + BASE_BYTES + (_VARIES if options.smoke else 0)
    for name, value in figures.items():
        print(f"{name:>22} {value:>18,.1f}" if name.endswith("_s") else f"{name:>22} {value:>18,.0f}")
    if figures["import_peak_bytes"] > figures["bound_bytes"]:
        raise SystemExit("the import exceeds the bound of memory")
    return figures


def main() -> None:
    options = tyro.cli(Options)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = run(options, Path(folder))
    if options.out is not None:
        write_text(options.out, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
