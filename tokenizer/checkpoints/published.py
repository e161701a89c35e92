"""The published formats of a VQGAN, which are recognized by tensor names and renamed to the names used here.

| format | recognized by | differences from LWM |
|---|---|---|
| LWM (arXiv 2402.08268) | `encoder.DownsamplingBlock_0` | kernels are HWIO |
| aMUSEd, diffusers (2401.01808) | `encoder.down_blocks.0` | none; these are the names used here |
| taming (2012.09841) | `encoder.down.0` | attention; `decoder.up.0` has the highest resolution |
| IBQ (2412.02692) | the same, with `model_ema` | the averaged weights; lookup by inner product |
| LlamaGen (2406.06525) | `encoder.conv_blocks.0` | attention; codes are normalized to length 1 |
| MaskGIT (2202.04200) | `encoder.ResBlock_0` | pixels in [0, 1], average pooling, shortcut on the block's output |

Tensors that a format omits are filled in with neutral values: MaskGIT's missing biases are zero, its missing 1x1
convolutions around the codebook are the identity, and its last 1x1 convolution is zero-padded to 3x3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.weight_files.stored import Stored

CODEBOOK = "quantize.embedding.weight"
_SHOWN = 5  # names in a message


class Published(NamedTuple):
    """The tensors of a file under the names of aMUSEd, OIHW, and what the original names imply about the model."""

    form: str
    tensors: dict[str, Stored]
    hints: dict[str, Any]  # fields of VqganConfig that cannot be inferred from shapes


def translate(tensors: Mapping[str, Stored]) -> Published:
    """Recognize the format by the tensors' names, and rename them to the names used here.

    Raises ConfigError that lists the first tensors if the format is unknown.
    """
    for pattern, form, rename, hints in _FORMS:
        if any(re.match(pattern, name) for name in tensors):
            return Published(form, rename(tensors), hints)
    names = [f"{name} {list(stored.shape)}" for name, stored in list(tensors.items())[:_SHOWN]]
    raise ConfigError(
        f"the tensors belong to no known VQGAN format ({'; '.join(names) or 'there are none'}). Supported formats: "
        "LWM, aMUSEd (diffusers VQModel), taming, IBQ, LlamaGen and MaskGIT"
    )


def _rewrite(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


_ATTENTION_WORDS = [
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
]
_TORCH_WORDS = [
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.downsample\.conv\.", ".downsamplers.0.conv."),
    (r"\.upsample\.conv\.", ".upsamplers.0.conv."),
    *_ATTENTION_WORDS,
]


def _amused(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Rename the attention tensors of older versions."""
    old = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    rules = [(rf"(\.attentions\.\d+)\.{before}\.", rf"\1.{after}.") for before, after in old.items()]
    return {_rewrite(name, rules): stored for name, stored in tensors.items()}


def _taming(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Rename tensors, taking all averaged weights if there are any, so that a missing one is reported."""
    plain = {
        n: s for n, s in tensors.items() if re.match(r"(encoder|decoder|quant_conv|post_quant_conv|quantize)\.", n)
    }
    if any(name.startswith("model_ema.encoder") for name in tensors):
        averaged = {name: tensors.get("model_ema." + name.replace(".", "")) for name in plain}
        plain = {name: stored for name, stored in averaged.items() if stored is not None}
    top = max((int(m[1]) for name in tensors if (m := re.match(r"decoder\.up\.(\d{1,2})\.", name))), default=0)
    rules = [
        (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
        (r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets."),
        (r"\.down\.(\d+)\.attn\.", r".down_blocks.\1.attentions."),
        (r"\.down\.(\d+)\.", r".down_blocks.\1."),
        (r"\.up\.(\d+)\.block\.", r".up.\1.resnets."),
        (r"\.up\.(\d+)\.attn\.", r".up.\1.attentions."),
        *_TORCH_WORDS,
    ]
    renamed = {}
    for name, stored in plain.items():
        name = re.sub(r"\.mid\.block_([12])\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", name)
        name = re.sub(r"\.up\.(\d{1,2})\.", lambda m: f".up_blocks.{top - int(m[1])}.", _rewrite(name, rules))
        renamed[name] = _flat_attention(name, stored)
    return renamed


def _llamagen(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    rules = [
        (r"\.mid\.0\.", ".mid_block.resnets.0."),
        (r"\.mid\.1\.", ".mid_block.attentions.0."),
        (r"\.mid\.2\.", ".mid_block.resnets.1."),
        (r"^encoder\.conv_blocks\.", "encoder.down_blocks."),
        (r"^decoder\.conv_blocks\.", "decoder.up_blocks."),
        (r"\.res\.(\d+)\.", r".resnets.\1."),
        (r"\.attn\.(\d+)\.", r".attentions.\1."),
        *_TORCH_WORDS,
    ]
    kept = {name: stored for name, stored in tensors.items() if name != "quantize.codebook_used"}
    renamed = {_rewrite(name, rules): stored for name, stored in kept.items()}
    renamed = {name: _flat_attention(name, stored) for name, stored in renamed.items()}
    if CODEBOOK in renamed:
        renamed[CODEBOOK] = renamed[CODEBOOK].transformed(renamed[CODEBOOK].shape, _length_one)
    return renamed


def _length_one(codes: NDArray[Any]) -> NDArray[Any]:
    codes = codes.astype(np.float32)
    return codes / np.maximum(np.linalg.norm(codes, axis=-1, keepdims=True), 1e-12)


def _flat_attention(name: str, stored: Stored) -> Stored:
    """Convert a 1x1 convolution of attention to a matrix."""
    if ".attentions." in name and len(stored.shape) == 4 and stored.shape[2:] == (1, 1):
        return stored.transformed(stored.shape[:2], lambda array: array[:, :, 0, 0])
    return stored


_FLAX_WORDS = [
    (r"(\.resnets\.\d+)\.GroupNorm_0\.", r"\1.norm1."),
    (r"(\.resnets\.\d+)\.GroupNorm_1\.", r"\1.norm2."),
    (r"(\.resnets\.\d+)\.Conv_0\.", r"\1.conv1."),
    (r"(\.resnets\.\d+)\.Conv_1\.", r"\1.conv2."),
    (r"(\.resnets\.\d+)\.Conv_2\.", r"\1.conv_shortcut."),
    (r"^(encoder|decoder)\.GroupNorm_0\.", r"\1.conv_norm_out."),
    (r"^(encoder|decoder)\.Conv_0\.", r"\1.conv_in."),
    (r"\.(kernel|scale)$", ".weight"),
]


def _output_first(stored: Stored) -> Stored:
    if len(stored.shape) != 4:
        return stored
    h, w, i, o = stored.shape
    return stored.transformed((o, i, h, w), lambda array: np.einsum("hwio->oihw", array))


def _lwm(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    rules = [
        (r"^quantize\.embeddings$", CODEBOOK),
        (r"\.DownsamplingBlock_(\d+)\.", r".down_blocks.\1."),
        (r"\.UpsamplingBlock_(\d+)\.", r".up_blocks.\1."),
        (r"\.Downsample_0\.Conv_0\.", ".downsamplers.0.conv."),
        (r"\.Upsample_0\.Conv_0\.", ".upsamplers.0.conv."),
        (r"\.MidBlock_0\.", ".mid_block."),
        (r"\.ResnetBlock_(\d+)\.", r".resnets.\1."),
        *_FLAX_WORDS,
        (r"^(encoder|decoder)\.Conv_1\.", r"\1.conv_out."),
    ]
    renamed = {_rewrite(name, rules): stored for name, stored in tensors.items()}
    return {name: _output_first(stored) for name, stored in renamed.items()}


def _maskgit(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Rename tensors, deriving levels from the consecutive numbers of the blocks.

    With n blocks per level and L levels, the encoder has n·L blocks and then n in the middle, the decoder n and then
    n·L. The convolutions outside of blocks are, in the decoder, the first, one after each level except the last, and
    the last.
    """
    names = list(tensors)
    levels = len({m[1] for name in names if (m := re.match(r"decoder\.Conv_(\d+)\.", name))}) - 1
    blocks = len({m[1] for name in names if (m := re.match(r"encoder\.ResBlock_(\d+)\.", name))}) // (
        max(levels, 1) + 1
    )
    blocks = max(blocks, 1)

    def placed(match: re.Match[str]) -> str:
        half, index = match[1], int(match[2])
        level, block = divmod(index if half == "encoder" else index - blocks, blocks)
        if half == "encoder" and level < levels:
            return f"encoder.down_blocks.{level}.resnets.{block}."
        if half == "decoder" and level >= 0:
            return f"decoder.up_blocks.{level}.resnets.{block}."
        return f"{half}.mid_block.resnets.{block}."

    rules = [
        (r"^quantizer\.codebook$", CODEBOOK),
        *_FLAX_WORDS,
        (r"^encoder\.Conv_1\.", "encoder.conv_out."),
        (rf"^decoder\.Conv_{levels}\.", "decoder.conv_out."),
    ]
    renamed = {}
    for name, stored in tensors.items():
        name = _rewrite(re.sub(r"^(encoder|decoder)\.ResBlock_(\d{1,3})\.", placed, name), rules)
        name = re.sub(
            r"^decoder\.Conv_(\d+)\.", lambda m: f"decoder.up_blocks.{int(m[1]) - 1}.upsamplers.0.conv.", name
        )
        renamed[name] = _output_first(stored)
    return _filled_in(renamed)


def _filled_in(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """Add the tensors that MaskGIT omits, with neutral values."""
    filled = dict(tensors)
    for name, stored in tensors.items():
        bias = name.removesuffix("weight") + "bias"
        if len(stored.shape) == 4 and bias not in tensors and re.search(r"\.resnets\.|^encoder\.conv_in\.", name):
            filled[bias] = _zeros(stored.shape[0])
    last = tensors.get("encoder.conv_out.weight")
    if last is not None and len(last.shape) == 4 and last.shape[2:] == (1, 1):
        around = ((0, 0), (0, 0), (1, 1), (1, 1))
        filled["encoder.conv_out.weight"] = last.transformed((*last.shape[:2], 3, 3), partial(np.pad, pad_width=around))
    if CODEBOOK in tensors and len(tensors[CODEBOOK].shape) == 2:
        dim = tensors[CODEBOOK].shape[1]
        for name in ("quant_conv", "post_quant_conv"):
            filled[f"{name}.weight"] = Stored((dim, dim, 1, 1), partial(_identity, dim))
            filled[f"{name}.bias"] = _zeros(dim)
    return filled


def _zeros(count: int) -> Stored:
    return Stored((count,), partial(np.zeros, count, np.float32))


def _identity(dim: int) -> NDArray[np.float32]:
    return np.eye(dim, dtype=np.float32)[:, :, None, None]


_Rename = Callable[[Mapping[str, Stored]], dict[str, Stored]]
_FORMS: list[tuple[str, str, _Rename, dict[str, Any]]] = [
    (r"(encoder|decoder)\.(Down|Up)samplingBlock_\d", "lwm", _lwm, {}),
    (r"(encoder|decoder)\.(down|up)_blocks\.\d", "amused", _amused, {}),
    (r"(encoder|decoder)\.conv_blocks\.\d", "llamagen", _llamagen, {"lookup": "product"}),
    (r"(encoder|decoder)\.ResBlock_\d", "maskgit", _maskgit, {"pixel_range": "unsigned", "shortcut": "output"}),
    (r"model_ema\.encoder", "ibq", _taming, {"lookup": "product"}),
    (r"(encoder|decoder)\.(down|up)\.\d", "taming", _taming, {}),
]
