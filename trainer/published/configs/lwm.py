"""The shapes of LWM's models. Its files hold no configuration: sizes follow from the shapes of the tensors.

Only the number of heads is not visible in them. All sizes that LWM defines have heads of 128, except the smallest.
"""

from __future__ import annotations

from schemas.errors import ConfigError
from trainer.model.llama.config import LlamaConfig, lwm_7b
from trainer.published.files.tensor import Tensor, Tensors

_FIRST = "transformer/h/0/"
_HEAD_DIM = 128


def per_layer(tensors: Tensors) -> dict[str, Tensor]:
    """Return the tensors with stacked layers (`scan_layers`, axis 0 or 1) taken apart, as transformer/h/0/… and so on.

    The keys of files that contain more than parameters begin with `params`, once or twice.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = key
        while name.startswith("params/"):
            name = name.removeprefix("params/")
        head, scanned, tail = name.partition("/scan_decoder/")
        if not scanned:
            found[name] = tensor
            continue
        axis = _layer_axis(tensors, name, tensor)
        found |= {f"{head}/{i}/{tail}": tensor.at(i, axis=axis) for i in range(tensor.shape[axis])}
    return found


def _layer_axis(tensors: Tensors, name: str, tensor: Tensor) -> int:
    """Return the axis of the layers: the norm of a layer is a vector of the model dim, the other axis of its stack."""
    dims = [x.shape[0] for key, x in tensors.items() if key.endswith("transformer/ln_f/kernel") and len(x.shape) == 1]
    norms = [x.shape for key, x in tensors.items() if key.endswith("scan_decoder/attention_norm/kernel")]
    if len(dims) != 1 or len(norms) != 1 or len(norms[0]) != 2 or len(tensor.shape) not in (2, 3):
        raise ConfigError(f"{name} of shape {tensor.shape} is not a stack of layers of LWM")
    layers = norms[0][1] if norms[0][0] == dims[0] and norms[0][1] != dims[0] else norms[0][0]
    axis = 1 if norms[0][0] == dims[0] and norms[0][1] != dims[0] else 0
    if tensor.shape[axis] != layers:
        raise ConfigError(f"{name} has the shape {tensor.shape}, but the model has {layers} layers on axis {axis}")
    return axis


def read_shapes(tensors: Tensors, *, heads: int | None, rope_theta: float | None) -> LlamaConfig:
    """Return the model of the tensors of `per_layer`; `heads` defaults to heads of 128."""
    try:
        dim = tensors["transformer/ln_f/kernel"].shape[0]
        ff_dim = tensors[_FIRST + "feed_forward/w1/kernel"].shape[1]
        key = tensors[_FIRST + "attention/wk/kernel"].shape
    except (KeyError, IndexError) as e:
        raise ConfigError(f"it has no decoder of LWM: {e.args[0]} is missing or not a matrix") from e
    if heads is None and dim % _HEAD_DIM:
        raise ConfigError(f"the number of heads does not follow from a model dim of {dim}: give --heads")
    count = heads or dim // _HEAD_DIM
    if dim % count or len(key) != 2 or key[1] % (dim // count):
        raise ConfigError(f"--heads {count} does not divide the model dim {dim} and keys of {key}")
    layers = 0
    while f"{_FIRST[:-2]}{layers}/attention/wk/kernel" in tensors:
        layers += 1
    base = lwm_7b()
    return LlamaConfig(
        dim=dim,
        layers=layers,
        heads=count,
        kv_heads=key[1] // (dim // count),
        head_dim=dim // count,
        ff_dim=ff_dim,
        norm_eps=base.norm_eps,
        rope_theta=rope_theta or base.rope_theta,
        softmax="by_modality" if "vision_head/kernel" in tensors else "joint",
        max_positions=base.max_positions,
    )
