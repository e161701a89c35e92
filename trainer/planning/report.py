"""Spells a training plan out for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from schemas.counted import counted
from schemas.spelled_time import spelled_time
from trainer.config import ModelConfig
from trainer.planning.plan import DeviceMemory, TrainingPlan, Workload
from trainer.run.optimizer import OptimizerConfig
from trainer.run.speed import Speed


def lines_of(
    plan: TrainingPlan,
    config: ModelConfig,
    mesh: Mapping[str, int],
    work: Workload,
    *,
    steps: int,
    speed: Speed,
    settings: OptimizerConfig | None = None,
) -> Iterator[str]:
    """Yield the lines of the report."""
    in_layers = plan.parameters - plan.table_parameters
    yield f"parameters  {plan.parameters:,}: {in_layers:,} in layers, {plan.table_parameters:,} in tables and heads"
    axes = ", ".join(f"{axis} {size}" for axis, size in mesh.items())
    yield f"mesh        {axes}: {counted(math.prod(mesh.values()), 'device')}"
    share = work.tokens // (mesh["data"] * mesh["fsdp"] * mesh["sequence"])
    apart = f" in {counted(work.accumulate, 'micro-batch', 'micro-batches')}" if work.accumulate > 1 else ""
    yield f"step        {work.batch_size:,} x {work.context:,} = {work.tokens:,} tokens; {share:,} a device{apart}"
    yield ""
    yield f"memory of a device, activations in {config.dtype}"
    yield from (
        f"  {name:<44}{spelled_bytes(size):>10}" for name, size in _memory(plan.memory, settings or OptimizerConfig())
    )
    yield ""
    seconds = speed.seconds(plan.flops)
    attention = plan.attention_flops / plan.flops
    yield f"operations  {plan.flops:.3g} FLOPs a step, {attention:.0%} of them in attention"
    yield (
        f"step time   {spelled_time(seconds)} at {speed.utilization:.0%} of {speed.flops_per_s:.3g} FLOP/s "
        f"({speed.source}): {work.tokens / seconds:,.0f} tokens/s"
    )
    yield f"run         {counted(steps, 'step')}, {steps * work.tokens:.3g} tokens, {spelled_time(steps * seconds)}"


def _memory(memory: DeviceMemory, settings: OptimizerConfig) -> Iterator[tuple[str, int]]:
    yield f"parameters, {settings.param_dtype}", memory.parameters
    yield f"optimizer {settings.name}: moments, {settings.state_dtype}", memory.optimizer
    if memory.average:
        yield "moving average of the parameters, float32", memory.average
    yield "batch", memory.batch
    yield "gradients", memory.gradients
    yield "activations kept for the backward pass", memory.kept
    yield "one layer, or the loss, while it runs", memory.working
    yield "total at the peak", memory.total
    if memory.offloaded:
        yield "in host memory: activations or moments", memory.offloaded


def spelled_bytes(size: float) -> str:
    """Return a number of bytes in a unit of three or four digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
