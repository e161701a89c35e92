"""How fast the engine was, and how much memory its cache takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Speed:
    """Sums over the life of an engine. Seconds include compilation."""

    prompt_tokens: int = 0  # that were run
    prompt_s: float = 0.0
    reused_tokens: int = 0  # of prompts, whose keys and values were kept
    generated_tokens: int = 0
    generation_s: float = 0.0
    cache_bytes: int = 0

    def add_prompt(self, tokens: int, seconds: float) -> None:
        """Count a block of a prompt."""
        self.prompt_tokens, self.prompt_s = self.prompt_tokens + tokens, self.prompt_s + seconds

    def add_generated(self, tokens: int, seconds: float) -> None:
        """Count generated ids."""
        self.generated_tokens, self.generation_s = self.generated_tokens + tokens, self.generation_s + seconds

    def __str__(self) -> str:
        return (
            f"prompt: {_rate(self.prompt_tokens, self.prompt_s)}, {self.reused_tokens} tokens reused; "
            f"generated: {_rate(self.generated_tokens, self.generation_s)}; cache: {self.cache_bytes / 1e6:.1f} MB"
        )


def _rate(tokens: int, seconds: float) -> str:
    return f"{tokens} tokens, {tokens / seconds:.1f} tokens/s" if seconds else f"{tokens} tokens"
