"""Layouts: the assignment of tokens to the devices of the sequence axis.

Segment ids and positions are permuted together with the tokens, so attention and the loss do not depend on the order. A
layout is a permutation of the sequence, which the loader applies once, after it has shifted the targets.

    contiguous     device d holds one run of S/n tokens. The last devices of a long document have the most work.
    zigzag         2n runs; device d holds run d and run 2n-1-d. Balanced for one document, not for packed ones.
    block_cyclic   stripes of w tokens are distributed round-robin: stripe s goes to device s mod n. Every device gets
                   early and late tokens of every document; a stripe as wide as attention's tile keeps tiles skippable.

block_cyclic is Striped Attention (Brandon et al., arXiv 2311.09431) with stripes of w tokens instead of one; zigzag is
the layout of LLaMA 3 (arXiv 2407.21783, section 3.3.2). `benchmarks/layout.py` compares them. In all of them each
device's part is in reading order, which keeps the bounds of attention's loops tight (`tiles.py`).

Axes: S sequence, n devices of the sequence axis, w stripe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from trainer.divisibility import nearest_multiple, require_even

Layout = Literal["block_cyclic", "zigzag", "contiguous"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def permutation(layout: Layout, *, length: int, devices: int, stripe: int) -> NDArray[np.int64]:
    """Return [S], the index in the original sequence of each token of the permuted sequence.

    `laid_out = original[permutation]`, and device d holds `laid_out[d·S/n : (d+1)·S/n]`. Only block_cyclic uses
    `stripe`. Raises ConfigError if the sequence cannot be split evenly.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    require_even(length, devices)
    order = np.arange(length, dtype=np.int64)
    if layout == "contiguous":
        return order
    if layout == "zigzag":
        _check_zigzag(length, devices)
        runs = order.reshape(2, devices, -1)
        return np.stack([runs[0], runs[1, ::-1]], axis=1).reshape(-1)
    if stripe < 1 or length % (devices * stripe):
        raise ConfigError(
            f"a context of {length} tokens cannot be distributed in stripes of {stripe} tokens over {devices} devices: "
            f"context must be a multiple of {devices * stripe}. Choose fewer devices, a narrower tile, or contiguous."
        )
    # In reading order the stripes are [round, device]; the stripes of one device become contiguous.
    return order.reshape(-1, devices, stripe).swapaxes(0, 1).reshape(-1)


def lay_out(arrays: Mapping[str, NDArray[Any]], order: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Permute tokens, targets, segment ids, positions and weights together: all [..., S] -> [..., len(order)].

    Targets must already be shifted. `order` is a permutation, or the part of it that a process holds.
    """
    return {name: np.take(array, order, axis=-1) for name, array in arrays.items()}


def stripe_width(*, length: int, devices: int, tile: int) -> int:
    """Return the widest stripe, up to attention's tile, that divides a device's share of `length` tokens.

    Raises ConfigError if it is narrower than half a tile, because narrow tiles are inefficient.
    """
    share = max(length // devices, 1)
    width = max(width for width in range(1, min(tile, share) + 1) if share % width == 0)
    if 2 * width < min(tile, share):
        raise ConfigError(
            f"a context of {length} tokens on {devices} devices leaves {share} tokens to each, which no tile of "
            f"{tile // 2} to {tile} tokens divides: the nearest context that tiles of {tile} divide has "
            f"{nearest_multiple(length, devices * tile)} tokens"
        )
    return width


def inverse(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the permutation that undoes `order`: `laid_out[inverse(order)] == original`."""
    result = np.empty_like(order)
    result[order] = np.arange(len(order), dtype=order.dtype)
    return result


def _check_zigzag(context: int, devices: int) -> None:
    if context % (2 * devices):
        raise ConfigError(
            f"a context of {context} tokens cannot be cut into zigzag's two runs for each of {devices} devices: "
            f"the nearest context has {nearest_multiple(context, 2 * devices)} tokens"
        )
