"""What a model and its mesh look like, and the recipes that have a name.

`ModelConfig` holds the shapes of a LLaMA-type decoder (Touvron et al., arXiv 2302.13971; grouped-query attention:
Ainslie et al., arXiv 2305.13245) and what trades memory for speed. The sizes of the two vocabularies belong to the
dataset and are given beside it.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from schemas.errors import ConfigError

# joint: one softmax over all ids. by_modality: a text target competes with text ids only, a vision target with vision
# ids only, as in LWM; whether text or vision comes next is then not learnt, it follows from the document's grammar.
Softmax = Literal["joint", "by_modality"]
SOFTMAXES: tuple[str, ...] = get_args(Softmax)
AttentionMethod = Literal["ring", "all_gather", "ulysses"]  # which to take when: `attention.py`
ATTENTION_METHODS: tuple[str, ...] = get_args(AttentionMethod)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shapes of a decoder, and how it is computed."""

    dim: int  # D
    layers: int  # L
    heads: int  # N
    kv_heads: int  # K; each serves N / K query heads
    head_dim: int  # H
    ff_dim: int  # F
    rope_theta: float = 1e6  # base of the rotary angles; LWM raises it with the context, to 5e7 at 1M tokens
    max_positions: int = 1 << 20  # the longest document; positions beyond it come out as NaN
    softmax: Softmax = "joint"  # over which ids a target's probability is normed
    dtype: Literal["float32", "bfloat16"] = "float32"  # of activations and products; parameters are float32
    attention: AttentionMethod = "ring"  # how attention is computed over the mesh's axis `sequence`
    tile: int = 128  # tokens on a side of one block of attention; the loader's stripe
    chunk: int = 256  # tokens in one block of all that is not attention
    offload: bool = False  # what a layer keeps for backward waits in host memory

    def __post_init__(self) -> None:
        for name in ("dim", "layers", "heads", "kv_heads", "head_dim", "ff_dim", "max_positions", "tile", "chunk"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise ConfigError(f"heads must be a multiple of kv_heads, got {self.heads} and {self.kv_heads}")
        if self.head_dim % 2:
            raise ConfigError(f"head_dim must be even, since rotary angles turn pairs; got {self.head_dim}")
        if self.rope_theta <= 1:
            raise ConfigError(f"rope_theta must be above 1, got {self.rope_theta}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"dtype must be float32 or bfloat16, got {self.dtype!r}")
        if self.softmax not in SOFTMAXES:
            raise ConfigError(f"softmax must be one of {', '.join(SOFTMAXES)}, got {self.softmax!r}")
        if self.attention not in ATTENTION_METHODS:
            raise ConfigError(f"attention must be one of {', '.join(ATTENTION_METHODS)}, got {self.attention!r}")

    @property
    def groups(self) -> int:
        """Query heads that share one key/value head, G."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Devices along each axis of the mesh; one of the four may be -1, which takes what the others leave."""

    data: int = 1  # copies of the model, each with rows of its own
    fsdp: int = 1  # rows too, with the weights split among them
    tensor: int = 1  # heads and feed-forward columns
    sequence: int = -1  # the tokens of a row, in a ring

    def __post_init__(self) -> None:
        sizes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor, "sequence": self.sequence}
        for name, size in sizes.items():
            if size < 1 and size != -1:
                raise ConfigError(f"mesh axis {name} must be at least 1, or -1 for what is left; got {size}")
        if list(sizes.values()).count(-1) > 1:
            raise ConfigError(f"only one mesh axis may be -1, got {sizes}")


def debug() -> ModelConfig:
    """The smallest model that has every part; for tests. Runs anywhere, learns next to nothing."""
    return ModelConfig(dim=32, layers=2, heads=4, kv_heads=2, head_dim=8, ff_dim=48, tile=16, chunk=32)


def small() -> ModelConfig:
    """A model for demonstrations on CPUs: 0.7 million parameters and 256 for each id of the vocabulary."""
    return ModelConfig(dim=128, layers=4, heads=4, kv_heads=2, head_dim=32, ff_dim=352)


def lwm_7b() -> ModelConfig:
    """The shapes of LLaMA-2-7B, which LWM starts from, with LWM's rotary base for a context of 1M tokens and its heads.

    Float32 parameters with Adam's moments take 81 GB, split over the axes fsdp and sequence; activations are bfloat16.
    """
    return ModelConfig(
        dim=4096,
        layers=32,
        heads=32,
        kv_heads=32,
        head_dim=128,
        ff_dim=11008,
        rope_theta=5e7,
        softmax="by_modality",
        dtype="bfloat16",
        tile=512,
        chunk=2048,
    )


RECIPES = {"debug": debug, "small": small, "lwm_7b": lwm_7b}


def parameter_count(config: ModelConfig, *, text_size: int, vision_size: int) -> int:
    """Return the number of parameters, embeddings and heads included."""
    layer = _layer_products(config) + 2 * config.dim
    return config.layers * layer + config.dim + 2 * config.dim * (text_size + vision_size)


def flops_per_token(config: ModelConfig, *, text_size: int, vision_size: int, mean_span: float) -> float:
    """Return the floating-point operations of one training step per token: 6 a weight, and attention's.

    The usual count for model FLOPs utilization (PaLM, arXiv 2204.02311, appendix B): forward and backward, without
    what is computed a second time and without the embedding's lookup. `mean_span` is the mean number of keys that a
    token may attend to, itself included: (n + 1) / 2 for a document of n tokens, averaged over tokens.
    """
    weights = config.layers * _layer_products(config) + config.dim * (text_size + vision_size)
    attention = 2 * config.layers * config.heads * config.head_dim * mean_span  # scores, and the sum over values
    return 6.0 * (weights + attention)


def _layer_products(config: ModelConfig) -> int:
    """Weights of a layer that take part in a matrix product."""
    attention = 2 * config.dim * config.head_dim * (config.heads + config.kv_heads)
    return attention + 3 * config.dim * config.ff_dim
