"""Correlation of what changes in two sequences of frames."""

from __future__ import annotations

import numpy as np

from pipeline.dedup.sampled_frames import NEIGHBORS, mean_of_neighbors
from pipeline.dedup.window import Floats


def correlation_of_changes(q: Floats, r: Floats) -> tuple[Floats, Floats]:
    """Return, for unit vectors q and r [n, c] of frames shown at the same times, the correlation [n] of their changes.

    The change around a frame is measured over its neighbors on both sides, or on one side only, whichever correlates
    best: the shared range may start or end there. Also returns the energy of the changes [n], 0 to 1.
    """
    product = np.einsum("nc,nc->n", q, r)[:, None]
    correlations, energies = [], []
    for before, after in ((NEIGHBORS, NEIGHBORS), (NEIGHBORS, 0), (0, NEIGHBORS)):
        mean_q, mean_r = mean_of_neighbors(q, before, after), mean_of_neighbors(r, before, after)
        covariance = mean_of_neighbors(product, before, after)[:, 0] - np.einsum("nc,nc->n", mean_q, mean_r)
        energy_q, energy_r = (np.maximum(0, 1 - np.einsum("nc,nc->n", mean, mean)) for mean in (mean_q, mean_r))
        correlations.append(covariance / np.sqrt(np.maximum(energy_q * energy_r, 1e-12)))
        energies.append(np.maximum(energy_q, energy_r))
    return np.max(correlations, axis=0), energies[0]


def correlation(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the correlation of x and y [n, c], each of zero mean over n, and the larger mean square of a row."""
    squares = float(np.einsum("nc,nc->", x, x)), float(np.einsum("nc,nc->", y, y))
    covariance = float(np.einsum("nc,nc->", x, y))
    return covariance / max(1e-12, (squares[0] * squares[1]) ** 0.5), max(squares) / len(x)
