"""How a model is loaded on this machine. Imports nothing of JAX, so that servers can be evaluated without it."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.config import Dtype, Weights


@dataclass(frozen=True, kw_only=True)
class LocalConfig:
    """How a model is loaded."""

    devices: int | None = None
    """Virtual CPU devices to use. Default: the first accelerator, or one CPU device."""
    cache_dtype: Dtype | None = None
    """Dtype of the key/value cache: float32 or bfloat16. Default: that of the model."""
    weight_dtype: Dtype | None = None
    """Dtype of the weights: bfloat16 takes half the memory, and is faster on a CPU. Default: that of the model."""
    weights: Weights = "params"
    """The trained parameters (params), or their moving average (ema) of a run with --optimizer.ema-decay."""
    chat_template: str | None = None
    """Chat template: documents (the layout of question-answer documents), lwm, chatml, or a file of Jinja. Default:
    that of the text tokenizer, or else chatml if its vocabulary has ChatML's tokens, or else documents."""
    vision: str | None = None
    """The VQGAN of the model, for pictures and videos: the name of a shipped checkpoint, or a file of weights."""
    most_frames: int = 8
    """Largest number of frames of a video that the model sees, at equal distances; 0: as many as its context holds."""
