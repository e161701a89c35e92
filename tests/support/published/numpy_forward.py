"""An independent forward pass of LWM in numpy, on its own arrays: interleaved pairs, separate tables, float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def lwm_logits(
    tree: Mapping[str, Array], tokens: Array, *, heads: int, text_size: int, theta: float, eps: float
) -> Array:
    """Return the logits [B,S,text + vision] of documents; `tree` has layers apart."""

    def norm(x: Array, scale: Array) -> Array:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * scale

    def turn(x: Array) -> Array:  # [B,S,N,H]; values 2i and 2i + 1 are one complex number
        pairs = x[..., ::2] + 1j * x[..., 1::2]
        size = x.shape[-1]
        angles = np.outer(np.arange(x.shape[1]), theta ** (-np.arange(0, size, 2) / size))
        turned = pairs * np.exp(1j * angles)[None, :, None]
        return np.stack([turned.real, turned.imag], -1).reshape(x.shape)

    table = np.concatenate([tree["transformer/wte/embedding"], tree["transformer/vte/embedding"]]).astype(np.float64)
    assert len(tree["transformer/wte/embedding"]) == text_size
    x = table[tokens]
    length = x.shape[1]
    hidden = np.triu(np.full((length, length), -np.inf), 1)
    layers = len({name.split("/")[2] for name in tree if name.startswith("transformer/h/")})
    for i in range(layers):
        w = {name.split("/", 3)[3]: value.astype(np.float64) for name, value in tree.items() if f"/h/{i}/" in name}
        y = norm(x, w["attention_norm/kernel"])
        q, k, v = ((y @ w[f"attention/{n}/kernel"]).reshape(*y.shape[:2], heads, -1) for n in ("wq", "wk", "wv"))
        scores = np.einsum("bqnh,bknh->bnqk", turn(q), turn(k)) / np.sqrt(q.shape[-1]) + hidden
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = x + np.einsum("bnqk,bknh->bqnh", weights, v).reshape(x.shape) @ w["attention/wo/kernel"]
        y = norm(x, w["ffn_norm/kernel"])
        gate = y @ w["feed_forward/w1/kernel"]
        x = x + (gate / (1 + np.exp(-gate)) * (y @ w["feed_forward/w3/kernel"])) @ w["feed_forward/w2/kernel"]
    x = norm(x, tree["transformer/ln_f/kernel"])
    return np.concatenate([x @ tree["lm_head/kernel"], x @ tree["vision_head/kernel"]], -1)
