"""Layouts: which device of the sequence axis holds which token.

Segment ids and positions travel with the tokens, so attention, and the loss too, do not care about the order: a
layout is only a permutation of the sequence, applied once by the loader after targets were shifted.

    contiguous     device d holds one run of S/n tokens. The last devices of a long document work the most.
    block_cyclic   stripes of w tokens are dealt out in turn: stripe s goes to device s mod n. Every device has early
                   and late tokens of every document, and a stripe as wide as attention's tile keeps tiles skippable.

The striping is that of Striped Attention (Brandon et al., arXiv 2311.09431) with a stripe of w tokens in place of one.

Axes: S sequence, n devices of the sequence axis, w stripe.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError

Layout = Literal["block_cyclic", "contiguous"]
LAYOUTS: tuple[str, ...] = get_args(Layout)


def permutation(layout: Layout, *, length: int, devices: int, stripe: int) -> NDArray[np.int64]:
    """Return [S], the place in the original sequence of each token of the laid-out one.

    `laid_out = original[permutation]`, and device d holds `laid_out[d·S/n : (d+1)·S/n]`. `stripe` is used by
    block_cyclic only. Raises ConfigError where the sequence cannot be dealt out evenly.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if length % devices:
        raise ConfigError(
            f"a context of {length} tokens cannot be split over {devices} devices of the sequence axis: "
            "choose a sequence axis that divides it"
        )
    order = np.arange(length, dtype=np.int64)
    if layout == "contiguous":
        return order
    if stripe < 1 or length % (devices * stripe):
        raise ConfigError(
            f"a context of {length} tokens cannot be dealt out in stripes of {stripe} tokens over {devices} devices: "
            f"context must be a multiple of {devices * stripe}. Choose fewer devices, a narrower tile, or contiguous."
        )
    # Stripes in reading order are [turn, device]; a device keeps its own together.
    return order.reshape(-1, devices, stripe).swapaxes(0, 1).reshape(-1)


def stripe_width(*, length: int, devices: int, tile: int) -> int:
    """Return the widest stripe that deals a device's share of `length` tokens out evenly and fits attention's tile."""
    share = max(length // devices, 1)
    return max(width for width in range(1, min(tile, share) + 1) if share % width == 0)


def inverse(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the permutation that undoes `order`: `laid_out[inverse(order)] == original`."""
    result = np.empty_like(order)
    result[order] = np.arange(len(order), dtype=order.dtype)
    return result
