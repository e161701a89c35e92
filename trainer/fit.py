"""Whether the sizes of a run fit each other: every refusal names the numbers, and the nearest choice that would do."""

from __future__ import annotations

import math

from jax.sharding import Mesh

from schemas.errors import ConfigError
from trainer.config import AttentionMethod
from trainer.mesh import RULES


def check_attention(
    *, rows: int, context: int, heads: int, kv_heads: int, mesh: Mesh | None, method: AttentionMethod
) -> None:
    """Raise ConfigError where the mesh does not divide the batch's rows, the context or the heads."""
    if heads % kv_heads:
        raise ConfigError(
            f"{heads} query heads cannot share {kv_heads} key/value heads evenly: "
            f"the nearest number of key/value heads is {nearest_divisor(heads, kv_heads)}"
        )
    if mesh is None:
        return
    groups, tensor, sequence = (math.prod(mesh.shape[a] for a in RULES[d]) for d in ("batch", "kv_heads", "sequence"))
    if rows % groups:
        raise ConfigError(
            f"a batch of {rows} rows cannot be split over {' x '.join(RULES['batch'])} = {groups} devices: "
            f"the nearest batch has {nearest_multiple(rows, groups)} rows"
        )
    check_context(context, devices=sequence)
    if kv_heads % tensor:
        raise ConfigError(
            f"{heads} query heads with {kv_heads} key/value heads cannot be split over tensor = {tensor} devices: "
            f"the nearest tensor axis is {nearest_divisor(kv_heads, tensor)}"
        )
    if method == "ulysses" and sequence > 1 and kv_heads // tensor % sequence:
        raise ConfigError(
            f"ulysses gives each of sequence = {sequence} devices some of the {kv_heads // tensor} key/value heads "
            f"that tensor = {tensor} leaves, and they cannot be split evenly: the nearest sequence axis is "
            f"{nearest_divisor(kv_heads // tensor, sequence)}; ring and all_gather take any"
        )


def check_context(context: int, *, devices: int) -> None:
    """Raise ConfigError where `devices` of the sequence axis do not divide a context."""
    if context % devices:
        raise ConfigError(
            f"a context of {context} tokens cannot be split over sequence = {devices} devices: the nearest context "
            f"has {nearest_multiple(context, devices)} tokens, the nearest sequence axis is "
            f"{nearest_divisor(context, devices)}"
        )


def nearest_multiple(number: int, of: int) -> int:
    """Return the multiple of `of`, at least `of`, that is nearest to `number`; the lower of two."""
    below = number // of * of
    return max(of, below if number - below <= below + of - number else below + of)


def nearest_divisor(number: int, to: int) -> int:
    """Return the divisor of `number` that is nearest to `to`; the lower of two."""
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: (abs(d - to), d))
