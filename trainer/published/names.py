"""What each published format calls the parameters of the llama family, and in which layout it stores them.

| ours | Hugging Face | GGUF | Meta | LWM |
|---|---|---|---|---|
| rows of a matrix | outputs | outputs | outputs | inputs |
| rotary pairs | half a head apart | side by side (llama), apart (qwen2, qwen3) | side by side | side by side |

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.layer import layer_weights
from trainer.published.layout import Layout

TEXT_EMBEDDING, VISION_EMBEDDING = "text_embedding", "vision_embedding"
TEXT_HEAD, VISION_HEAD, FINAL_NORM = "text_head", "vision_head", "final_norm"


def stacked_name(name: str) -> str:
    """Return the name in a checkpoint of a parameter of the layers."""
    return f"layers/{name}"


@dataclass(frozen=True, kw_only=True)
class Naming:
    """The names of a format: of a layer's parameters, with {i} for its number, and of the others."""

    layer: Mapping[str, str]
    tables: Mapping[str, str]  # embeddings, heads and the final norm
    outputs_first: bool  # the rows of a matrix are outputs
    interleaved: bool  # rotary pairs lie side by side
    ignored: tuple[str, ...] = ()  # endings of names of tensors that hold no parameters

    def of_layer(self, config: LlamaConfig, i: int) -> dict[str, tuple[str, Layout]]:
        """Return the published name and layout of each parameter of layer `i`, by our name."""
        return {
            stacked_name(name): (self.layer[name].format(i=i), self._layout(name, weight.shape))
            for name, weight in layer_weights(config).items()
        }

    def of_table(self, name: str, shape: tuple[int, ...]) -> tuple[str, Layout]:
        """Return the published name and layout of a parameter that is not of a layer."""
        is_head = name in (TEXT_HEAD, VISION_HEAD)
        transposed = is_head and not self.outputs_first
        return self.tables[name], Layout(shape=shape, is_vector=len(shape) == 1, transposed=transposed)

    def _layout(self, name: str, shape: tuple[int, ...]) -> Layout:
        is_vector = name.endswith(("norm", "bias"))
        turned = name in ("query", "key", "query_bias", "key_bias", "query_norm", "key_norm")
        return Layout(
            shape=shape,
            inputs=2 if name == "output" else 1,
            is_vector=is_vector,
            transposed=self.outputs_first and not is_vector,
            interleaved=self.interleaved and turned,
        )


_HF, _BLOCK, _META, _LWM = "model.layers.{i}.", "blk.{i}.", "layers.{i}.", "transformer/h/{i}/"

HUGGING_FACE = Naming(
    layer={
        "attention_norm": _HF + "input_layernorm.weight",
        "query": _HF + "self_attn.q_proj.weight",
        "key": _HF + "self_attn.k_proj.weight",
        "value": _HF + "self_attn.v_proj.weight",
        "output": _HF + "self_attn.o_proj.weight",
        "query_bias": _HF + "self_attn.q_proj.bias",
        "key_bias": _HF + "self_attn.k_proj.bias",
        "value_bias": _HF + "self_attn.v_proj.bias",
        "output_bias": _HF + "self_attn.o_proj.bias",
        "query_norm": _HF + "self_attn.q_norm.weight",
        "key_norm": _HF + "self_attn.k_norm.weight",
        "ff_norm": _HF + "post_attention_layernorm.weight",
        "gate": _HF + "mlp.gate_proj.weight",
        "up": _HF + "mlp.up_proj.weight",
        "down": _HF + "mlp.down_proj.weight",
    },
    tables={TEXT_EMBEDDING: "model.embed_tokens.weight", FINAL_NORM: "model.norm.weight", TEXT_HEAD: "lm_head.weight"},
    outputs_first=True,
    interleaved=False,
    ignored=(".rotary_emb.inv_freq",),
)


def gguf(architecture: str) -> Naming:
    """Return the names of GGUF. Conversion to the architecture llama reorders the pairs, others keep their order."""
    return Naming(
        layer={
            "attention_norm": _BLOCK + "attn_norm.weight",
            "query": _BLOCK + "attn_q.weight",
            "key": _BLOCK + "attn_k.weight",
            "value": _BLOCK + "attn_v.weight",
            "output": _BLOCK + "attn_output.weight",
            "query_bias": _BLOCK + "attn_q.bias",
            "key_bias": _BLOCK + "attn_k.bias",
            "value_bias": _BLOCK + "attn_v.bias",
            "output_bias": _BLOCK + "attn_output.bias",
            "query_norm": _BLOCK + "attn_q_norm.weight",
            "key_norm": _BLOCK + "attn_k_norm.weight",
            "ff_norm": _BLOCK + "ffn_norm.weight",
            "gate": _BLOCK + "ffn_gate.weight",
            "up": _BLOCK + "ffn_up.weight",
            "down": _BLOCK + "ffn_down.weight",
        },
        tables={TEXT_EMBEDDING: "token_embd.weight", FINAL_NORM: "output_norm.weight", TEXT_HEAD: "output.weight"},
        outputs_first=True,
        interleaved=architecture == "llama",
        ignored=("rope_freqs.weight",),
    )


META = Naming(
    layer={
        "attention_norm": _META + "attention_norm.weight",
        "query": _META + "attention.wq.weight",
        "key": _META + "attention.wk.weight",
        "value": _META + "attention.wv.weight",
        "output": _META + "attention.wo.weight",
        "ff_norm": _META + "ffn_norm.weight",
        "gate": _META + "feed_forward.w1.weight",
        "up": _META + "feed_forward.w3.weight",
        "down": _META + "feed_forward.w2.weight",
    },
    tables={TEXT_EMBEDDING: "tok_embeddings.weight", FINAL_NORM: "norm.weight", TEXT_HEAD: "output.weight"},
    outputs_first=True,
    interleaved=True,
    ignored=("rope.freqs",),
)

LWM = Naming(
    layer={
        "attention_norm": _LWM + "attention_norm/kernel",
        "query": _LWM + "attention/wq/kernel",
        "key": _LWM + "attention/wk/kernel",
        "value": _LWM + "attention/wv/kernel",
        "output": _LWM + "attention/wo/kernel",
        "ff_norm": _LWM + "ffn_norm/kernel",
        "gate": _LWM + "feed_forward/w1/kernel",
        "up": _LWM + "feed_forward/w3/kernel",
        "down": _LWM + "feed_forward/w2/kernel",
    },
    tables={
        TEXT_EMBEDDING: "transformer/wte/embedding",
        VISION_EMBEDDING: "transformer/vte/embedding",
        FINAL_NORM: "transformer/ln_f/kernel",
        TEXT_HEAD: "lm_head/kernel",
        VISION_HEAD: "vision_head/kernel",
    },
    outputs_first=False,
    interleaved=True,
)
