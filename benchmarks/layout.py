"""Simulates which share of the work that a ring executes is useful, by layout and by document lengths.

    python benchmarks/layout.py [--smoke] [--tile 512] [--samples 3] [--out layout.json]

Devices of a ring run in lockstep: a hop takes as long as the device with the most pairs of tiles to compute. Hence, for
n devices and hops h,

    useful / executed = pairs of tokens that attend to each other
                        / (n x sum over h of max over devices of its pairs of tiles x tile^2)

This one number covers imbalance (waiting devices) and tiles that are only partly needed (masked work). `no lockstep` is
the same for block-cyclic without the wait at every hop, as in an all-gather. The layouts are those of
`trainer/data/layout.py`; `by token` is added for comparison: stripes of one token (Striped Attention), in which a tile
covers n times as many positions.

Documents fill a sequence completely; the last one is cut:

    one        a single document
    books      log-normal lengths, median 60,000 tokens
    videos     1 to 30 frames of 257 tokens, uniformly distributed
    films      10 to 100 minutes at 4 frames per second for half of the tokens, videos for the rest
    real       the lengths of real books and clips (`lengths.json`), half of the tokens each

The script first checks on a small case that it counts the tiles that the trainer's own bounds visit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from trainer.data.layout import permutation

Integers = NDArray[np.int64]
FRAME = 257
REAL = json.loads(Path(__file__).with_name("lengths.json").read_text())
LAYOUTS = ("contiguous", "zigzag", "by_token", "block_cyclic")
CASES = ((1 << 17, 8), (1 << 20, 8), (1 << 20, 64), (1 << 20, 512))


@dataclass(frozen=True)
class Options:
    """Simulate layouts."""

    tile: int = 512
    samples: int = 3  # sequences per kind; the mean is reported
    smoke: bool = False  # one sequence per kind on the smallest mesh, in a few seconds
    out: Path | None = None  # write the figures to this JSON file


def documents(kind: str, length: int, rng: np.random.Generator) -> Integers:
    """Return lengths of documents that fill `length` tokens, in random order, the last one cut."""
    draw: dict[str, Callable[[], int]] = {
        "one": lambda: length,
        "books": lambda: int(np.exp(rng.normal(11, 1))) + 2,
        "videos": lambda: int(rng.integers(1, 31)) * FRAME,
        "films": lambda: int(rng.integers(2400, 24000)) * FRAME,
        "real books": lambda: int(rng.choice(REAL["books"])),
        "real clips": lambda: int(rng.choice(REAL["clips"])),
    }
    shares = {"films": ("films", "videos"), "real": ("real books", "real clips")}.get(kind, (kind,))
    lengths: list[int] = []
    for part in shares:
        end = sum(lengths) + length // len(shares)
        while (left := end - sum(lengths)) > 0:
            lengths.append(min(draw[part](), left))
    return rng.permutation(lengths)


def order_of(layout: str, *, length: int, devices: int, tile: int) -> Integers:
    """Return the order of the sequence; `by_token` is block-cyclic with stripes of one token."""
    if layout == "by_token":
        return permutation("block_cyclic", length=length, devices=devices, stripe=1)
    return permutation(layout, length=length, devices=devices, stripe=tile)  # type: ignore[arg-type]


def pairs_of_tiles(lengths: Integers, order: Integers, *, devices: int, tile: int) -> Integers:
    """Return how many pairs of tiles each device computes with each device's keys: [devices, devices]."""
    segments = np.repeat(np.arange(len(lengths)), lengths)
    code = (segments << 32) + np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    tiles = code[order].reshape(-1, tile)  # a code orders tokens by (segment, position)
    first, last = tiles.min(1), tiles.max(1)
    live = (first[None] <= last[:, None]) & (last[None] >> 32 >= first[:, None] >> 32)
    return live.reshape(devices, len(tiles) // devices, devices, -1).sum((1, 3))


def useful_share(work: Integers, lengths: Integers, tile: int) -> tuple[float, float]:
    """Return useful / executed work in lockstep, and without waiting at every hop."""
    devices = len(work)
    useful = float(np.sum(lengths * (lengths + 1) / 2)) / tile**2 / devices
    here = np.arange(devices)
    hops = [work[here, (here - hop) % devices].max() for hop in range(devices)]
    return useful / float(np.sum(hops)), useful / float(work.sum(1).max())


def check() -> None:
    """Exit if `pairs_of_tiles` differs from the tiles that `trainer.attention.tiles.bounds` visits."""
    import jax.numpy as jnp

    from trainer.attention.tiles import Tokens, bounds

    rng, length, devices, tile = np.random.default_rng(0), 2048, 4, 16
    lengths = rng.integers(1, 300, 40)
    lengths = np.append(lengths[np.cumsum(lengths) <= length - 1], 0)
    lengths[-1] = length - lengths.sum()
    segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    positions = np.concatenate([np.arange(n) for n in lengths])
    for layout in LAYOUTS:
        order = order_of(layout, length=length, devices=devices, tile=tile)
        parts = [Tokens(*(jnp.asarray(x[p][None], jnp.int32) for x in (segments, positions)))
                 for p in order.reshape(devices, -1)]  # fmt: skip
        counted = [[int(jnp.sum((b := bounds(q, k, tile=tile)).stop - b.start)) for k in parts] for q in parts]
        made = pairs_of_tiles(lengths, order, devices=devices, tile=tile)
        if not np.array_equal(made, counted):
            raise SystemExit(f"{layout}: the simulation does not count the tiles that the trainer visits")


def measure(kind: str, length: int, devices: int, options: Options) -> dict[str, Any]:
    """Return the mean share over samples, by layout."""
    shares: dict[str, list[float]] = {name: [] for name in (*LAYOUTS, "no lockstep")}
    for sample in range(1 if kind == "one" or options.smoke else options.samples):
        lengths = documents(kind, length, np.random.default_rng(sample))
        for layout in LAYOUTS:
            order = order_of(layout, length=length, devices=devices, tile=options.tile)
            work = pairs_of_tiles(lengths, order, devices=devices, tile=options.tile)
            lockstep, independent = useful_share(work, lengths, options.tile)
            shares[layout].append(lockstep)
            if layout == "block_cyclic":
                shares["no lockstep"].append(independent)
    return {"documents": kind, "length": length, "devices": devices} | {k: float(np.mean(v)) for k, v in shares.items()}


def main(options: Options) -> None:
    check()
    names = (*LAYOUTS, "no lockstep")
    print(f"useful / executed work, tiles of {options.tile}\n")
    print(f"{'documents':<11}{'tokens':>10}{'devices':>9}" + "".join(f"{name:>14}" for name in names))
    results = []
    for length, devices in CASES[: 1 if options.smoke else None]:
        for kind in ("one", "books", "videos", "films", "real"):
            row = measure(kind, length, devices, options)
            results.append(row)
            shown = "".join(f"{row[name]:>14.2f}" for name in names)
            print(f"{kind:<11}{length:>10,}{devices:>9}{shown}", flush=True)
    if options.out:
        options.out.write_text(json.dumps({"tile": options.tile, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
