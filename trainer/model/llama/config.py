"""Configuration of LLaMA-type decoders and the named recipes.

Shapes follow LLaMA (Touvron et al., arXiv 2302.13971) with grouped-query attention (Ainslie et al., arXiv 2305.13245).
The published models that the fields after `ff_dim` describe:

    LLaMA 2, Mistral        none; LLaMA 2 and Mistral 0.1 have rope_theta 1e4, Mistral 0.2 1e6
    LLaMA 3, 3.1, 3.2       rope_theta 5e5; 3.1 and later rope_scaling llama3; 3.2 of 1B and 3B tied_heads
    Qwen 2, 2.5             qkv_bias, norm_eps 1e-6, rope_theta 1e6; small ones tied_heads; rope_scaling yarn
    Qwen 3 (dense)          qk_norm, norm_eps 1e-6, rope_theta 1e6; small ones tied_heads
    SmolLM2                 tied_heads
    LWM                     norm_eps 1e-6, softmax by_modality

Attention over a sliding window (Mistral 0.1, `use_sliding_window` of Qwen) does not exist here: every token sees all of
its document.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from schemas.errors import ConfigError
from trainer.config import ModelConfig
from trainer.divisibility import require_heads
from trainer.model.llama.rope_scaling import RopeScaling

_SIZES = ("dim", "layers", "heads", "kv_heads", "head_dim", "ff_dim")


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(ModelConfig):
    """Shapes of a decoder, in addition to the settings of every model."""

    shape_fields: ClassVar[tuple[str, ...]] = (
        *_SIZES,
        "tied_heads",
        "qkv_bias",
        "output_bias",
        "qk_norm",
    )

    dim: int  # D
    layers: int  # L
    heads: int  # N
    kv_heads: int  # K; each serves N / K query heads
    head_dim: int  # H
    ff_dim: int  # F
    norm_eps: float = 1e-5  # added to the mean square by every norm
    tied_heads: bool = False  # the embedding tables are the heads, for text and for vision
    qkv_bias: bool = False  # biases on queries, keys and values
    output_bias: bool = False  # a bias on the output of attention
    qk_norm: bool = False  # a norm of each query and key head, before the rotation
    rope_theta: float = 1e6  # base of the rotary angles; LWM raises it with the context, to 5e7 at 1M tokens
    rope_scaling: RopeScaling | None = None  # how the angles are scaled to a context beyond that of the pretraining

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive(*_SIZES)
        if self.heads % self.kv_heads:
            raise ConfigError(f"heads must be a multiple of kv_heads, got {self.heads} and {self.kv_heads}")
        if self.head_dim % 2:
            raise ConfigError(f"head_dim must be even because rotary embeddings rotate pairs, got {self.head_dim}")
        if self.rope_theta <= 1:
            raise ConfigError(f"rope_theta must be greater than 1, got {self.rope_theta}")
        if not 0 < self.norm_eps < 1:
            raise ConfigError(f"norm_eps must lie between 0 and 1, got {self.norm_eps}")
        if self.rope_scaling is not None:
            self.rope_scaling.require_head_dim(self.head_dim)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the configuration from plain values, of which `rope_scaling` is a mapping."""
        fields = dict(values)
        if isinstance(scaling := fields.get("rope_scaling"), Mapping):
            fields["rope_scaling"] = RopeScaling.from_dict(scaling)
        return super().from_dict(fields)

    def require_mesh(self, mesh: Mapping[str, int]) -> None:
        """Raise ConfigError unless the mesh axis `tensor` divides heads and feed-forward columns."""
        require_heads(self.heads, self.kv_heads, mesh, method=self.attention, ff_dim=self.ff_dim)

    @property
    def groups(self) -> int:
        """Query heads per key/value head, G."""
        return self.heads // self.kv_heads

    @property
    def matmul_weights(self) -> int:
        """Weights of one layer that take part in a matrix product."""
        attention = 2 * self.dim * self.head_dim * (self.heads + self.kv_heads)
        return attention + 3 * self.dim * self.ff_dim


def debug() -> LlamaConfig:
    """Return the smallest model that has every part, for tests. It runs anywhere and learns very little."""
    return LlamaConfig(dim=32, layers=2, heads=4, kv_heads=2, head_dim=8, ff_dim=48, tile=16, chunk=32)


def small() -> LlamaConfig:
    """Return a model for demonstrations on CPUs: 0.7 million parameters plus 256 for each vocabulary id."""
    return LlamaConfig(dim=128, layers=4, heads=4, kv_heads=2, head_dim=32, ff_dim=352)


def lwm_7b() -> LlamaConfig:
    """Return the shapes of LLaMA-2-7B, which LWM starts from, with LWM's softmax and its rotary base for 1M tokens.

    Float32 parameters and Adam's moments take 81 GB, split over the mesh axes fsdp and sequence. Activations are
    bfloat16.
    """
    return LlamaConfig(
        dim=4096,
        layers=32,
        heads=32,
        kv_heads=32,
        head_dim=128,
        ff_dim=11008,
        norm_eps=1e-6,
        rope_theta=5e7,
        softmax="by_modality",
        dtype="bfloat16",
        tile=512,
        chunk=2048,
    )


def million_10() -> LlamaConfig:
    """Return a model of 9.4 million parameters plus 768 for each vocabulary id."""
    return LlamaConfig(dim=384, layers=6, heads=6, kv_heads=2, head_dim=64, ff_dim=1024)


def million_30() -> LlamaConfig:
    """Return a model of 29.5 million parameters plus 1,024 for each vocabulary id."""
    return LlamaConfig(dim=512, layers=10, heads=8, kv_heads=4, head_dim=64, ff_dim=1408)


def million_100() -> LlamaConfig:
    """Return a model of 100.7 million parameters plus 1,536 for each vocabulary id."""
    return LlamaConfig(dim=768, layers=16, heads=12, kv_heads=4, head_dim=64, ff_dim=2048)


def billion_1() -> LlamaConfig:
    """Return the shapes of LLaMA-3.2-1B: 0.97 billion parameters plus 4,096 for each vocabulary id."""
    sizes = LlamaConfig(dim=2048, layers=16, heads=32, kv_heads=8, head_dim=64, ff_dim=8192)
    return replace(sizes, dtype="bfloat16", tile=512, chunk=2048)


def billion_7() -> LlamaConfig:
    """Return the shapes of Mistral-7B: 6.98 billion parameters plus 8,192 for each vocabulary id.

    Its 8 key/value heads make a ring send a quarter of what `lwm_7b` sends.
    """
    sizes = LlamaConfig(dim=4096, layers=32, heads=32, kv_heads=8, head_dim=128, ff_dim=14336)
    return replace(sizes, dtype="bfloat16", tile=512, chunk=2048)


RECIPES = {
    "debug": debug,
    "small": small,
    "10m": million_10,
    "30m": million_30,
    "100m": million_100,
    "1b": billion_1,
    "7b": billion_7,
    "lwm_7b": lwm_7b,
}
