"""Measures generation: memory and time by the length of the prompt, and speed beside other implementations.

    python benchmarks/generation.py [--smoke] [--lengths 16384 65536] [--tokens 32] [--weights FILE.gguf] [--out FILE]

First, `debug` on 8 virtual CPU devices, by length of the prompt, each in its own process: seconds of the prompt and of
the generated ids, processor seconds of both with compilation, bytes of the cache, and the peak of resident memory.
Attention is quadratic in the length, memory is linear.

With --weights, a LLaMA-type GGUF file (SmolLM2-135M, see tests/trainer/published/test_real_weights.py), the speed of
a prompt and of greedy generation with two threads: Longreel's engine (float32, and bfloat16 cache), transformers
(float32 and bfloat16) and llama.cpp through xllamacpp (the file's own quantization), each in its own process, after a
warm-up. It needs the extra `reference`, accelerate and xllamacpp. `matmul` is the prompt's share of the speed of a
plain float32 product in the same process.
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
from pathlib import Path
from typing import Any

DEVICES = 8
CASES = (
    "longreel float32",
    "longreel float32, cache bfloat16",
    "transformers float32",
    "transformers bfloat16",
    "llama.cpp",
)


def rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_length(length: int, tokens: int, block: int, page: int) -> dict[str, Any]:
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


def measure_case(case: str, weights: Path, prompt: int, tokens: int) -> dict[str, Any]:
    """Return prompt and generation speed of one implementation, in tokens/s."""
    name, _, dtype = case.partition(" ")
    if name == "longreel":
        return _longreel(weights, prompt, tokens, cache=dtype.rpartition(" ")[2])
    return (
        _transformers(weights, dtype, prompt, tokens) if name == "transformers" else _llama_cpp(weights, prompt, tokens)
    )


def _longreel(weights: Path, prompt: int, tokens: int, *, cache: str) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from trainer.config import MeshConfig
    from trainer.inference.engine import Engine, EngineConfig
    from trainer.inference.requests import Request, Sampling
    from trainer.inference.speed import Speed
    from trainer.mesh import make_mesh
    from trainer.published.import_config import ImportConfig
    from trainer.published.importing import import_model
    from trainer.run.state import load_model

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        import_model(str(weights), ImportConfig(out=run))
        model, _ = load_model(run, mesh=make_mesh(MeshConfig(), devices=jax.devices()[:1]))
    engine = Engine(model, config=EngineConfig(cache_dtype=cache, cache_tokens=2 * (prompt + tokens)))  # type: ignore[arg-type]
    weight_count = sum(x.size for x in jax.tree.leaves(engine.decoder)) - engine.decoder.text_size * model.config.dim
    best = Speed(prompt_s=1e9, generation_s=1e9)
    for n in range(3):
        engine.speed = Speed()
        ids = [n + 1, *range(3, prompt + 2)]
        engine.generate([Request(prompt=ids, max_tokens=tokens, sampling=Sampling(temperature=0))])
        best.prompt_s = min(best.prompt_s, engine.speed.prompt_s)
        best.generation_s = min(best.generation_s, engine.speed.generation_s)
    a, product = jnp.ones((2048, 2048), jnp.float32), jax.jit(jnp.matmul)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        product(a, a).block_until_ready()
        times.append(time.perf_counter() - started)
    flops = 2 * weight_count * (prompt - 1) / best.prompt_s
    return {
        "prompt": round((prompt - 1) / best.prompt_s, 1),
        "generated": round(tokens / best.generation_s, 2),
        "matmul": round(flops / (2 * 2048**3 / min(times)), 3),
    }


def _transformers(weights: Path, dtype: str, prompt: int, tokens: int) -> dict[str, Any]:
    import torch
    import transformers

    torch.set_num_threads(2)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        weights.parent, gguf_file=weights.name, dtype=getattr(torch, dtype)
    ).eval()
    prompts, both = [], []
    with torch.no_grad():
        for n in range(3):
            ids = torch.tensor([[n + 1, *range(3, prompt + 2)]])
            started = time.perf_counter()
            model(ids, use_cache=True, logits_to_keep=1)
            prompts.append(time.perf_counter() - started)
            started = time.perf_counter()
            model.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
            both.append(time.perf_counter() - started)
    return {"prompt": round(prompt / min(prompts), 1), "generated": round(tokens / (min(both) - min(prompts)), 2)}


def _llama_cpp(weights: Path, prompt: int, tokens: int) -> dict[str, Any]:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel = str(weights), 2 * (prompt + tokens), 1
    parameters.cpuparams.n_threads = 2
    server = xllamacpp.Server(parameters)
    found = []
    for n in range(3):
        asked = {"prompt": [n + 1, *range(3, prompt + 2)], "n_predict": tokens, "temperature": 0.0, "ignore_eos": True}
        answer = server.handle_completions(asked)
        found.append((json.loads(answer) if isinstance(answer, bytes | str) else answer)["timings"])
    return {
        "prompt": round(max(t["prompt_per_second"] for t in found), 1),
        "generated": round(max(t["predicted_per_second"] for t in found), 2),
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
    parser.add_argument("--block", type=int, default=2048, help="tokens of a prompt that are run together")
    parser.add_argument("--page", type=int, default=1024, help="tokens of a page of the cache")
    parser.add_argument("--weights", type=Path, help="GGUF file to compare implementations with")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt of the comparison")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.length:
        print(json.dumps(measure_length(args.length, args.tokens, args.block, args.page)))
        return
    if args.case:
        print(json.dumps(measure_case(args.case, args.weights, args.prompt, args.tokens)))
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
    for case in CASES if args.weights else ():
        options = ["--case", case, "--weights", str(args.weights), "--prompt", str(args.prompt)]
        figures["cases"][case] = in_process([*options, "--tokens", str(args.tokens)])
        print(f"{case}: {figures['cases'][case]}", flush=True)
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
