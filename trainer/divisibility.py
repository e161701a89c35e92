"""Divisibility checks of model, mesh and batch, done before any computation.

Each check raises a ConfigError with the values received and the nearest valid ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from schemas.counted import counted
from schemas.errors import ConfigError
from trainer.config import AttentionMethod

_ROWS = ("data", "fsdp")  # mesh axes that the rows of a batch are split over


def require_heads(
    heads: int, kv_heads: int, mesh: Mapping[str, int], *, method: AttentionMethod = "ring", ff_dim: int = 0
) -> None:
    """Raise unless key/value heads divide query heads and the mesh divides heads and feed-forward columns."""
    if heads % kv_heads:
        raise ConfigError(
            f"{heads} query heads cannot share {kv_heads} key/value heads evenly: "
            f"the nearest number of key/value heads is {nearest_divisor(heads, kv_heads)}"
        )
    tensor, sequence = mesh["tensor"], mesh["sequence"]
    split = {"heads": heads, "kv_heads": kv_heads, "ff_dim": ff_dim}
    uneven = [f"{name} = {size}" for name, size in split.items() if size % tensor]
    if uneven:
        common = math.gcd(*split.values())
        choices = nearest(tensor, range(1, common + 1), lambda n: common % n == 0)
        raise ConfigError(
            f"mesh axis tensor = {tensor} does not divide the model's {', '.join(uneven)}: take tensor = {choices}"
        )
    left = kv_heads // tensor
    if method == "ulysses" and sequence > 1 and left % sequence:
        raise ConfigError(
            f"ulysses gives each of sequence = {sequence} devices some of the {left} key/value heads that "
            f"tensor = {tensor} leaves, and they cannot be split evenly: the nearest sequence axis is "
            f"{nearest_divisor(left, sequence)}; ring and all_gather take any"
        )


def require_rows(batch_size: int, mesh: Mapping[str, int], *, accumulate: int = 1) -> None:
    """Raise unless every device gets the same number of rows of each micro-batch."""
    groups = math.prod(mesh[axis] for axis in _ROWS)
    step = groups * accumulate
    if batch_size % step:
        parts = f"{' x '.join(_ROWS)} = {counted(groups, 'device')}"
        parts += f", {counted(accumulate, 'micro-batch', 'micro-batches')}" if accumulate > 1 else ""
        below = batch_size // step * step
        choices = " or ".join(str(n) for n in (below, below + step) if n)
        raise ConfigError(f"batch_size = {batch_size} cannot be split evenly over {parts}: take {choices}")


def require_micro_batches(batch_sizes: Iterable[int], rows: int) -> None:
    """Raise unless every batch of a ramp is a whole number of micro-batches of `rows`."""
    for size in batch_sizes:
        if size % rows:
            raise ConfigError(
                f"batch_ramp has a batch of {size} sequences, which is no multiple of a micro-batch (batch_size / "
                f"accumulate = {rows}): take {nearest_multiple(size, rows)}"
            )


def require_even(context: int, sequence: int) -> None:
    """Raise unless `sequence` devices get equal parts of a row."""
    if context % sequence:
        raise ConfigError(
            f"a context of {context} tokens cannot be split over {counted(sequence, 'device')} of the axis "
            f"sequence: the nearest context has {nearest_multiple(context, sequence)} tokens, the nearest "
            f"sequence axis is {nearest_divisor(context, sequence)}"
        )


def require_context(context: int, mesh: Mapping[str, int], *, tile: int) -> None:
    """Raise unless every device gets an equal part of a row, in whole tiles if the part is longer than a tile."""
    sequence, tensor = mesh["sequence"], mesh["tensor"]

    def fits(context: int, sequence: int) -> bool:
        share = context // sequence
        return context % (sequence * tensor) == 0 and (share <= tile or share % tile == 0)

    if fits(context, sequence):
        return
    step = sequence * tensor
    near = range(step, context + step * tile + 1, step)
    contexts = nearest(context, near, lambda n: fits(n, sequence))
    # The devices that a smaller sequence axis leaves can be used by `data`.
    fewer = [n for n in range(1, sequence) if sequence % n == 0 and fits(context, n)]
    over = f"{counted(sequence, 'device')} of the axis sequence" + (f" and {tensor} of tensor" if tensor > 1 else "")
    raise ConfigError(
        f"a context of {context} tokens cannot be split over {over} in tiles of {tile} tokens: "
        f"pack at a context of {contexts}" + (f", or take sequence = {fewer[-1]}" if fewer else "")
    )


def nearest(wanted: int, choices: Iterable[int], fits: Callable[[int], bool]) -> str:
    """Return the nearest valid values below and above `wanted`, "" if there are none; `choices` are ascending."""
    good = [n for n in choices if fits(n)]
    below, above = [n for n in good if n < wanted][-1:], [n for n in good if n > wanted][:1]
    return " or ".join(map(str, below + above))


def nearest_multiple(number: int, of: int) -> int:
    """Return the multiple of `of`, at least `of`, that is nearest to `number`; the lower one of a tie."""
    below = number // of * of
    return max(of, below if number - below <= below + of - number else below + of)


def nearest_divisor(number: int, to: int) -> int:
    """Return the divisor of `number` that is nearest to `to`; the lower one of a tie."""
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: (abs(d - to), d))
