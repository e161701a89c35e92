"""The chat template of a tokenizer: the published one, or a built-in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import ConfigError
from schemas.weight_files.chat_templates import CHATML, DOCUMENTS, LWM
from schemas.weight_files.tokenizer_files import read_template
from tokenizer.text.tokenizer import TextTokenizer

BUILT_IN = {"documents": DOCUMENTS, "lwm": LWM, "chatml": CHATML}
_NEXT_QUESTION = "\nUSER:"  # ends an answer in DOCUMENTS, where only the last one has an eos
_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<end_of_turn>")


def chat_template(tokenizer: TextTokenizer, *, tools: bool = False) -> str:
    """Return the template of a tokenizer.

    It is the published one (`tool_use`, if there is one and `tools` are given), or else ChatML if the vocabulary has
    its tokens, or else DOCUMENTS. Raises ConfigError if the published one is malformed.
    """
    published = tokenizer.files.config.get("chat_template")
    if published is None:
        has_chatml = {"<|im_start|>", "<|im_end|>"} <= tokenizer.control.keys()
        return CHATML if has_chatml else DOCUMENTS
    if isinstance(published, str):
        return published
    named = _named(published)
    name = "tool_use" if tools and "tool_use" in named else "default"
    if name not in named:
        raise ConfigError(f"the chat templates are {', '.join(map(repr, named))}; one must be named 'default'")
    return named[name]


def use_template(tokenizer: TextTokenizer, name: str) -> None:
    """Let a tokenizer have another template: the name of a built-in one, or a file with the template.

    Raises ConfigError if `name` is neither.
    """
    try:
        template = BUILT_IN.get(name) or read_template(Path(name))
    except ConfigError as e:
        raise ConfigError(f"{name!r} is no chat template: give {', '.join(BUILT_IN)}, or a file with one ({e})") from e
    tokenizer.files = tokenizer.files.with_config(chat_template=template)


class TurnEnds(NamedTuple):
    """What ends the turn of the assistant."""

    ids: tuple[int, ...]  # not part of the reply
    texts: tuple[str, ...]


def turn_ends(tokenizer: TextTokenizer) -> TurnEnds:
    """Return what ends a turn: eos, the ids that templates write there, and in DOCUMENTS the next question."""
    ends = (tokenizer.control[name] for name in _END_OF_TURN if name in tokenizer.control)
    ids = tuple(dict.fromkeys((tokenizer.eos_id, *ends)))
    return TurnEnds(ids, (_NEXT_QUESTION,) if chat_template(tokenizer) == DOCUMENTS else ())


def _named(published: Any) -> dict[str, str]:
    try:
        named = {entry["name"]: entry["template"] for entry in published}
    except (TypeError, KeyError) as e:
        raise ConfigError("chat_template must be a string, or a list of names and templates") from e
    if not all(isinstance(text, str) for pair in named.items() for text in pair):
        raise ConfigError("the names and templates of chat_template must be strings")
    return named
