"""The Fréchet distance of two sets of features, each taken as a normal distribution (Dowson & Landau, 1982).

With the features of an Inception network it is called FID, with those of an I3D network FVD. With other features it is
neither, and its numbers cannot be compared with theirs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError

Features = NDArray[np.float64]  # [samples, dims]


def frechet_distance(a: Features, b: Features) -> float:
    """Return |mean difference|² + trace(A + B - 2 (A B)^½) of the covariances A and B; at least 2 samples of each.

    It is above 0 for two samples of one distribution, more so for few samples, so compare it at equal numbers.
    """
    if min(len(a), len(b)) < 2:
        raise ConfigError(f"a distance needs at least 2 samples of each set, got {len(a)} and {len(b)}")
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    root = _root(first)
    both = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return max(0.0, float(shift + np.trace(first) + np.trace(second) - 2 * both))


def _root(covariance: Features) -> Features:
    values, vectors = np.linalg.eigh(covariance)
    root: Features = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
