"""Measures generation: memory and time by the length of the prompt, and speed beside other implementations.

    python benchmarks/generation.py [--smoke] [--lengths 16384 65536] [--tokens 32] [--weights FILE.gguf] [--out FILE]

First, `debug` on 8 virtual CPU devices, by length of the prompt, each in its own process: seconds of the prompt and of
the generated ids without compilation, processor seconds of both with it, bytes of the cache, and the peak of resident
memory. Attention is quadratic in the length, memory is linear.

With --weights, a LLaMA-type GGUF file (SmolLM2-135M, see tests/trainer/published/conftest.py), the speed of a prompt
and of greedy generation with --threads threads: Longreel's engine (float32; cache in bfloat16; weights and cache in
bfloat16), transformers (float32 and bfloat16) and llama.cpp through xllamacpp (the file's own quantization, and float32
with --float32, the file that `export-model --format gguf` writes of the imported weights). Each runs in its own
process, after a warm-up, and the cases alternate --rounds times, so that other load of the machine meets all of them;
the figures are the best of each. Speeds are tokens per second of wall time and of processor time. `matmul` is a plain
float32 product, and the shares are those of its speed that the prompt reaches. It needs the extra `reference`,
accelerate and xllamacpp.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEVICES = 8
CASES = (
    "longreel float32",
    "longreel float32, cache bfloat16",
    "longreel bfloat16",
    "transformers float32",
    "transformers bfloat16",
    "llama.cpp",
    "llama.cpp float32",
)
REPEATS = 3  # after a warm-up
Generate = Callable[[list[int], int], object]  # prompt ids, number of new ids


def rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_length(length: int, tokens: int, block: int, page: int) -> dict[str, Any]:
    """Return the figures of one prompt of `length` ids over all devices."""
    import numpy as np

    from trainer.config import MeshConfig
    from trainer.cpu_devices import use_cpu_devices
    from trainer.inference.engine import Engine, EngineConfig
    from trainer.inference.requests import Request, Sampling
    from trainer.mesh import make_mesh
    from trainer.model.llama.config import debug
    from trainer.model.registry import create

    use_cpu_devices(DEVICES)
    mesh = make_mesh(MeshConfig())
    model = create(debug(), text_size=256, vision_size=0, mesh=mesh, seed=0)
    config = EngineConfig(block=block, page=page, cache_tokens=length)
    engine = Engine(model, config=config, mesh=mesh)
    prompt = np.random.default_rng(0).integers(0, 256, length - tokens)
    started = time.process_time()
    reply = engine.generate([Request(prompt=prompt, max_tokens=tokens, sampling=Sampling(temperature=0))])[0]
    speed = engine.speed
    return {
        "length": length,
        "ids": len(reply.ids),
        "prompt_s": round(speed.prompt_s, 1),
        "generated_s": round(speed.generation_s, 1),
        "cpu_s": round(time.process_time() - started, 1),
        "cache_MB": round(speed.cache_bytes / 1e6, 2),
        "peak_MB": round(rss_bytes() / 1e6, 1),
    }


def measure_case(case: str, weights: Path, prompt: int, tokens: int, threads: int) -> dict[str, Any]:
    """Return prompt and generation speed of one implementation, in tokens/s of wall and of processor time."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # XLA has a thread for each
    name, _, dtype = case.partition(" ")
    context = 2 * (prompt + tokens)
    if name == "longreel":
        run, weight_count = _longreel(weights, context, dtype.partition(",")[0], cache=dtype.rpartition(" ")[2])
    else:
        run = (
            _transformers(weights, dtype, threads) if name == "transformers" else _llama_cpp(weights, context, threads)
        )
    first, both = [], []
    for n in range(REPEATS + 1):  # prompts differ from the first id on, so that nothing is reused
        first.append(_timed(run, [2 * n + 3, *range(100, 99 + prompt)], 1))
        both.append(_timed(run, [2 * n + 4, *range(100, 99 + prompt)], tokens + 1))
    found: dict[str, Any] = {}
    for clock, at in (("wall", 0), ("cpu", 1)):
        start, whole = (min(times[at] for times in measured[1:]) for measured in (first, both))
        found[f"prompt_{clock}"] = round(prompt / start, 1)
        found[f"generated_{clock}"] = round(tokens / (whole - start), 2)
    if name == "longreel":
        flops = [2 * weight_count * prompt / min(times[at] for times in first[1:]) for at in (0, 1)]
        product = _matmul_speed(prompt)
        found |= {
            f"matmul_share_{clock}": round(x / y, 3)
            for clock, x, y in zip(("wall", "cpu"), flops, product, strict=True)
        }
    return found


def _timed(run: Generate, ids: list[int], new: int) -> tuple[float, float]:
    """Return seconds of wall and of processor time."""
    started = time.perf_counter(), time.process_time()
    run(ids, new)
    return time.perf_counter() - started[0], time.process_time() - started[1]


def _matmul_speed(rows: int) -> tuple[float, float]:
    """Return operations per second of wall and of processor time: `rows` rows and a square matrix."""
    import jax
    import jax.numpy as jnp

    x, w, product = jnp.ones((rows, 2048)), jnp.ones((2048, 2048)), jax.jit(jnp.matmul)
    times = [_timed(lambda *_: product(x, w).block_until_ready(), [], 0) for _ in range(30)]
    wall, cpu = (min(time[at] for time in times[1:]) for at in (0, 1))
    return 2 * rows * 2048**2 / wall, 2 * rows * 2048**2 / cpu


def _longreel(weights: Path, context: int, dtype: str, *, cache: str) -> tuple[Generate, int]:
    """Return the engine, and the number of weights that a token of a prompt is multiplied by."""
    import jax

    from trainer.config import MeshConfig
    from trainer.inference.engine import Engine, EngineConfig
    from trainer.inference.requests import Request, Sampling
    from trainer.mesh import make_mesh
    from trainer.published.import_config import ImportConfig
    from trainer.published.importing import import_model
    from trainer.run.state import load_model

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        import_model(str(weights), ImportConfig(out=run))
        model, _ = load_model(run, mesh=make_mesh(MeshConfig(), devices=jax.devices()[:1]))
    config = EngineConfig(cache_dtype=cache, weight_dtype=dtype, cache_tokens=2 * context)  # type: ignore[arg-type]
    engine = Engine(model, config=config)
    count = sum(x.size for x in jax.tree.leaves(model.stacked_weights()))  # type: ignore[attr-defined]
    greedy = Sampling(temperature=0)
    return lambda ids, new: engine.generate([Request(prompt=ids, max_tokens=new, sampling=greedy)]), count


def _transformers(weights: Path, dtype: str, threads: int) -> Generate:
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        weights.parent, gguf_file=weights.name, dtype=getattr(torch, dtype)
    ).eval()

    def run(ids: list[int], new: int) -> object:
        with torch.no_grad():
            return model.generate(torch.tensor([ids]), max_new_tokens=new, min_new_tokens=new, do_sample=False)

    return run


def _llama_cpp(weights: Path, context: int, threads: int) -> Generate:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel = str(weights), context, 1
    parameters.cpuparams.n_threads = threads
    server = xllamacpp.Server(parameters)

    def run(ids: list[int], new: int) -> object:
        return server.handle_completions({"prompt": ids, "n_predict": new, "temperature": 0.0, "ignore_eos": True})

    return run


def compare(cases: dict[str, Path], rounds: int, sizes: list[str]) -> dict[str, dict[str, Any]]:
    """Return the best figures of each case; the cases alternate."""
    best: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for case, weights in cases.items():
            found = in_process(["--case", case, "--weights", str(weights), *sizes])
            best[case] = {name: max(value, best.get(case, found)[name]) for name, value in found.items()}
            print(f"{case}: {found}", flush=True)
    return best


def in_process(arguments: list[str], **environment: str) -> dict[str, Any]:
    """Run one measurement in its own process."""
    command = [sys.executable, __file__, *arguments]
    made = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment)
    result: dict[str, Any] = json.loads(made.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one short prompt")
    parser.add_argument("--lengths", type=int, nargs="*", default=[16384, 65536], help="tokens of prompt and reply")
    parser.add_argument("--tokens", type=int, default=32, help="ids to generate")
    parser.add_argument("--block", type=int, default=2048, help="tokens of a prompt that are run together")
    parser.add_argument("--page", type=int, default=1024, help="tokens of a page of the cache")
    parser.add_argument("--weights", type=Path, help="GGUF file to compare implementations with")
    parser.add_argument("--float32", type=Path, help="the same weights in a GGUF file in float32, for llama.cpp")
    parser.add_argument("--rounds", type=int, default=2, help="how often the cases alternate")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt of the comparison")
    parser.add_argument("--threads", type=int, default=2, help="threads of each implementation; 1 on a busy machine")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.length:
        print(json.dumps(measure_length(args.length, args.tokens, args.block, args.page)))
        return
    if args.case:
        print(json.dumps(measure_case(args.case, args.weights, args.prompt, args.tokens, args.threads)))
        return
    lengths, block = ([1024], 256) if args.smoke else (args.lengths, args.block)
    figures: dict[str, Any] = {"lengths": [], "cases": {}}
    for length in lengths:
        options = [
            "--length",
            str(length),
            "--tokens",
            str(args.tokens),
            "--block",
            str(block),
            "--page",
            str(args.page),
        ]
        figures["lengths"].append(in_process(options))
        print(figures["lengths"][-1], flush=True)
    if args.weights:
        files = {"llama.cpp float32": args.float32}
        cases = {case: file for case in CASES if (file := files.get(case, args.weights)) is not None}
        sizes = ["--prompt", str(args.prompt), "--tokens", str(args.tokens), "--threads", str(args.threads)]
        figures["cases"] = compare(cases, args.rounds, sizes)
        print(json.dumps(figures["cases"], indent=2))
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
