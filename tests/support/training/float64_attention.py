"""Attention and its gradients in float64 numpy, written down from the definition: what all others are held to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.support.training.packed_sequences import Packed

Four = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def float64_attention(q: NDArray, k: NDArray, v: NDArray, d_out: NDArray, rows: Packed) -> Four:
    """Return output, dQ, dK and dV, float64, for q and dO [B,S,N,H], k and v [B,S,K,H]."""
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))
    kv_heads, groups, scale = k.shape[2], q.shape[2] // k.shape[2], q.shape[-1] ** -0.5
    k, v = np.repeat(k, groups, axis=2), np.repeat(v, groups, axis=2)
    segments, positions = rows.segment_ids, rows.positions
    seen = (segments[:, :, None] == segments[:, None]) & (segments[:, :, None] != 0)
    seen = (seen & (positions[:, None] <= positions[:, :, None]))[:, None]
    scores = np.where(seen, np.einsum("bqnh,bsnh->bnqs", q, k) * scale, -np.inf)
    highest = np.where(seen.any(-1, keepdims=True), scores.max(-1, keepdims=True), 0.0)
    weights = np.exp(scores - highest)
    weights /= np.maximum(weights.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
    out = np.einsum("bnqs,bsnh->bqnh", weights, v)
    d_weights = np.einsum("bqnh,bsnh->bnqs", d_out, v)
    d_scores = weights * (d_weights - np.sum(weights * d_weights, -1, keepdims=True)) * scale
    d_q = np.einsum("bnqs,bsnh->bqnh", d_scores, k)
    d_k, d_v = np.einsum("bnqs,bqnh->bsnh", d_scores, q), np.einsum("bnqs,bqnh->bsnh", weights, d_out)
    d_k, d_v = (x.reshape(*x.shape[:2], kv_heads, groups, -1).sum(3) for x in (d_k, d_v))
    return out, d_q, d_k, d_v
