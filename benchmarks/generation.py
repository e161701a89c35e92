"""Measures generation: memory and time by the length of the prompt, and speed beside other implementations.

    python benchmarks/generation.py [--smoke] [--lengths 16384 65536] [--tokens 32] [--weights FILE.gguf] [--out FILE]

First, `debug` on 8 virtual CPU devices, by length of the prompt, each in its own process: seconds of the prompt and of
the generated ids, processor seconds of both with compilation, bytes of the cache, and the peak of resident memory.
Attention is quadratic in the length, memory is linear.

With --weights, a LLaMA-type GGUF file (SmolLM2-135M, see tests/trainer/published/test_real_weights.py), the speed of
a prompt and of greedy generation with two threads: Longreel's engine (float32, and with a bfloat16 cache),
transformers (float32 and bfloat16) and llama.cpp through xllamacpp (the file's own quantization), each in its own
process, after a warm-up. Speeds are tokens per second of wall time and of processor time; the latter depends less on
what else the machine does. `matmul` are GFLOP/s of a plain float32 product of the prompt's size. It needs the extra
`reference`, accelerate and xllamacpp.
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
from functools import partial
from pathlib import Path
from typing import Any

DEVICES = 8
CASES = (
    "longreel float32",
    "longreel float32, cache bfloat16",
    "transformers float32",
    "transformers bfloat16",
    "llama.cpp",
    "matmul",
)
REPEATS = 3  # the first one warms up


def rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_length(length: int, tokens: int, block: int) -> dict[str, Any]:
    """Return the figures of one prompt of `length` ids over all devices."""
    import numpy as np

    from trainer.config import MeshConfig
    from trainer.inference.engine import Engine, EngineConfig
    from trainer.inference.requests import Request, Sampling
    from trainer.mesh import make_mesh
    from trainer.model.llama.config import debug
    from trainer.model.registry import create
    from trainer.run.loop import use_cpu_devices

    use_cpu_devices(DEVICES)
    mesh = make_mesh(MeshConfig())
    model = create(debug(), text_size=256, vision_size=0, mesh=mesh, seed=0)
    config = EngineConfig(block=block, page=512, cache_tokens=length)
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


Run = Callable[[list[int], int], Any]  # prompt ids, number of new ids


def measure_case(case: str, weights: Path, prompt: int, tokens: int) -> dict[str, Any]:
    """Return the speeds of one implementation, in tokens/s of wall and of processor time."""
    name, _, dtype = case.partition(" ")
    makers = {
        "longreel": partial(_longreel, cache=dtype.rpartition(" ")[2]),
        "transformers": partial(_transformers, dtype),
    }
    run = makers.get(name, partial(_llama_cpp, prompt + tokens))(weights)
    short, long = [], []
    for n in range(REPEATS):  # prompts that differ from the first id on, so that nothing is reused
        short.append(_timed(run, [2 * n + 3, *range(100, 99 + prompt)], 1))
        long.append(_timed(run, [2 * n + 4, *range(100, 99 + prompt)], tokens + 1))
    found = {}
    for clock, at in (("wall", 0), ("cpu", 1)):
        first = min(times[at] for times in short[1:])
        found[f"prompt_{clock}"] = round(prompt / first, 1)
        found[f"generated_{clock}"] = round(tokens / (min(times[at] for times in long[1:]) - first), 2)
    return found


def _timed(run: Run, ids: list[int], new: int) -> tuple[float, float]:
    """Return seconds of wall and of processor time."""
    started = time.perf_counter(), time.process_time()
    run(ids, new)
    return time.perf_counter() - started[0], time.process_time() - started[1]


def _longreel(weights: Path, *, cache: str) -> Run:
    import jax

    from trainer.config import MeshConfig
    from trainer.inference.engine import Engine, EngineConfig
    from trainer.inference.requests import Request, Sampling
    from trainer.mesh import make_mesh
    from trainer.published.importing import ImportConfig, import_model
    from trainer.run.state import load_model

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        import_model(str(weights), ImportConfig(out=run))
        model, _ = load_model(run, mesh=make_mesh(MeshConfig(), devices=jax.devices()[:1]))
    engine = Engine(model, config=EngineConfig(cache_dtype=cache, cache_tokens=4096))  # type: ignore[arg-type]
    greedy = Sampling(temperature=0)
    return lambda ids, new: engine.generate([Request(prompt=ids, max_tokens=new, sampling=greedy)])


def _transformers(dtype: str, weights: Path) -> Run:
    import torch
    import transformers

    torch.set_num_threads(2)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        weights.parent, gguf_file=weights.name, dtype=getattr(torch, dtype)
    ).eval()

    def run(ids: list[int], new: int) -> Any:
        with torch.no_grad():
            return model.generate(torch.tensor([ids]), max_new_tokens=new, min_new_tokens=new, do_sample=False)

    return run


def _llama_cpp(context: int, weights: Path) -> Run:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel = str(weights), 2 * context, 1
    parameters.cpuparams.n_threads = 2
    server = xllamacpp.Server(parameters)

    def run(ids: list[int], new: int) -> Any:
        return server.handle_completions({"prompt": ids, "n_predict": new, "temperature": 0.0, "ignore_eos": True})

    return run


def matmul_case(rows: int) -> dict[str, Any]:
    """Return the GFLOP/s of a float32 product of `rows` rows with weights of SmolLM2's shape."""
    import jax
    import jax.numpy as jnp

    x, w, product = jnp.ones((rows, 576)), jnp.ones((576, 1536)), jax.jit(jnp.matmul)
    times = [_timed(lambda *_: product(x, w).block_until_ready(), [], 0) for _ in range(20)]
    return {
        name: round(2 * x.size * 1536 / min(t[n] for t in times[1:]) / 1e9, 1) for n, name in enumerate(("wall", "cpu"))
    }


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
    parser.add_argument("--block", type=int, default=8192, help="tokens of a prompt that are run together")
    parser.add_argument("--weights", type=Path, help="GGUF file to compare implementations with")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt of the comparison")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.length:
        print(json.dumps(measure_length(args.length, args.tokens, args.block)))
        return
    if args.case:
        alone = args.case == "matmul"
        print(
            json.dumps(
                matmul_case(args.prompt) if alone else measure_case(args.case, args.weights, args.prompt, args.tokens)
            )
        )
        return
    lengths, block = ([1024], 256) if args.smoke else (args.lengths, args.block)
    figures: dict[str, Any] = {"lengths": [], "cases": {}}
    for length in lengths:
        options = ["--length", str(length), "--tokens", str(args.tokens), "--block", str(block)]
        figures["lengths"].append(in_process(options))
        print(figures["lengths"][-1], flush=True)
    for case in CASES if args.weights else ():
        options = ["--case", case, "--weights", str(args.weights), "--prompt", str(args.prompt)]
        figures["cases"][case] = in_process([*options, "--tokens", str(args.tokens)])
        print(f"{case}: {figures['cases'][case]}", flush=True)
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
