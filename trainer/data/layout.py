"""Layouts: which device of the sequence axis holds which token.

Segment ids and positions travel with the tokens, so attention, and the loss too, do not care about the order: a
layout is only a permutation of the sequence, applied once by the loader after targets were shifted.

    contiguous     device d holds one run of S/n tokens. The last devices of a long document work the most.
    zigzag         2n runs; device d holds run d and run 2n-1-d. Even for one document, not for packed ones.
    block_cyclic   stripes of w tokens are distributed round-robin: stripe s goes to device s mod n. Every device gets
                   early and late tokens of every document; a stripe as wide as attention's tile keeps tiles skippable.

The striping is that of Striped Attention (Brandon et al., arXiv 2311.09431) with a stripe of w tokens in place of one;
zigzag is that of LLaMA 3 (arXiv 2407.21783, section 3.3.2). `benchmarks/layout.py` compares them. A device's part is in
reading order in all of them, which is what keeps the bounds of attention's loops tight (`tiles.py`).

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
LAYOUTS: tuple[str, ...] = get_args(Layout)


def permutation(layout: Layout, *, length: int, devices: int, stripe: int) -> NDArray[np.int64]:
    """Return [S], the place in the original sequence of each token of the laid-out one.

    `laid_out = original[permutation]`, and device d holds `laid_out[d·S/n : (d+1)·S/n]`. `stripe` is used by
    block_cyclic only. Raises ConfigError where the sequence cannot be split evenly.
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
    # Stripes in reading order are [turn, device]; a device keeps its own together.
    return order.reshape(-1, devices, stripe).swapaxes(0, 1).reshape(-1)


def lay_out(arrays: Mapping[str, NDArray[Any]], order: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Permute tokens, targets, segment ids, positions and weights together: all [..., S] -> [..., len(order)].

    The one place where an order is applied. Targets must have been shifted before. `order` is a permutation, or the
    part of one that a process holds.
    """
    return {name: np.take(array, order, axis=-1) for name, array in arrays.items()}


def stripe_width(*, length: int, devices: int, tile: int) -> int:
    """Return the widest stripe that deals a device's share of `length` tokens out evenly and fits attention's tile.

    Raises ConfigError where none of even half the width would, since narrower tiles waste the arithmetic.
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
