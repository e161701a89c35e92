"""LLaMA-type decoders: LWM's architecture."""

from trainer.model.llama.config import RECIPES, LlamaConfig
from trainer.model.llama.transformer import Transformer
from trainer.model.protocol import ModelFamily

FAMILY = ModelFamily(name="llama", config=LlamaConfig, recipes=RECIPES, build=Transformer)
