"""The chat template of a tokenizer: the published one, or a built-in one."""

from __future__ import annotations

from typing import Any

from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer

# LWM's prompt (arXiv 2402.08268): the question comes before the frames.
LWM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set rest = messages[1:] %}"
    "{% else %}You are a helpful assistant.{% set rest = messages %}{% endif %}"
    "{% for m in rest %}"
    "{% if m.role == 'user' %} USER: {{ m.text }}{% if m.media %}{{ '\\n' + m.media }}{% endif %}"
    "{% elif m.role == 'assistant' %} ASSISTANT: {{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('the roles are system (first), user and assistant, got ' + m.role) }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<end_of_turn>")


def chat_template(tokenizer: TextTokenizer, *, tools: bool = False) -> str:
    """Return the template of a tokenizer.

    It is the published one (`tool_use`, if there is one and `tools` are given), or else ChatML if the vocabulary has
    its tokens, or else LWM's. Raises ConfigError if the published one is malformed.
    """
    published = tokenizer.files.config.get("chat_template")
    if published is None:
        has_chatml = {"<|im_start|>", "<|im_end|>"} <= tokenizer.control.keys()
        return CHATML if has_chatml else LWM
    if isinstance(published, str):
        return published
    named = _named(published)
    name = "tool_use" if tools and "tool_use" in named else "default"
    if name not in named:
        raise ConfigError(f"the chat templates are {', '.join(map(repr, named))}; one must be named 'default'")
    return named[name]


def stop_ids(tokenizer: TextTokenizer) -> tuple[int, ...]:
    """Return the ids that end the turn of the assistant: eos, and those that templates write at its end."""
    ends = (tokenizer.control[name] for name in _END_OF_TURN if name in tokenizer.control)
    return tuple(dict.fromkeys((tokenizer.eos_id, *ends)))


def _named(published: Any) -> dict[str, str]:
    try:
        named = {entry["name"]: entry["template"] for entry in published}
    except (TypeError, KeyError) as e:
        raise ConfigError("chat_template must be a string, or a list of names and templates") from e
    if not all(isinstance(text, str) for pair in named.items() for text in pair):
        raise ConfigError("the names and templates of chat_template must be strings")
    return named
