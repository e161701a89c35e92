"""LLaMA-type decoders: LWM's architecture."""

from trainer.model.llama.config import RECIPES, LlamaConfig
from trainer.model.llama.costs import flops_per_token, step_memory
from trainer.model.llama.transformer import Transformer
from trainer.model.protocol import Costs, ModelFamily

FAMILY = ModelFamily(
    name="llama",
    config=LlamaConfig,
    recipes=RECIPES,
    build=Transformer,
    costs=Costs(flops_per_token=flops_per_token, step_memory=step_memory),
)
