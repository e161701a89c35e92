from __future__ import annotations

from typing import Any

from tokenizer.text.chat.literals import Literals
from tokenizer.text.chat.sandbox import Sandbox

TOKENS = ("<|im_start|>", "<|user|>", "</s>", "<｜end▁of▁sentence｜>")


def tokens_in(source: str, **values: Any) -> list[str]:
    """Return the special tokens in the output of a template."""
    literals = Literals(TOKENS, [source, *map(str, values.values())])
    sandbox = Sandbox(literals.rewrite)
    sandbox.filters["plain_"] = literals.decode
    output = sandbox.render(sandbox.compile_template(source), values)
    return [literals.decode(match[0]) for match in literals.pattern({"user"}).finditer(output)]


def test_tokens_of_the_template_are_found_however_they_are_written() -> None:
    assert tokens_in("<|im_start|>{{ '</s>' }}") == ["<|im_start|>", "</s>"]
    assert tokens_in("{{ '<｜end▁of▁sentence｜>' }}") == ["<｜end▁of▁sentence｜>"]
    assert tokens_in("{% set x = '<|im' %}{{ x + '_start|>' }}") == ["<|im_start|>"]
    assert tokens_in("{{ '<|' + role + '|>' }}", role="user") == ["<|user|>"]
    assert tokens_in("{{ ['a', 'b'] | join('') }}{{ '</s>'.join(['a', 'b', 'c']) }}") == ["</s>", "</s>"]
    assert tokens_in("{% macro m(x) %}</s>{{ x }}{% endmacro %}{{ m('<|user|>') }}") == ["</s>", "<|user|>"]


def test_text_of_messages_never_becomes_a_token() -> None:
    for source in ("{{ x }}", "{{ x | trim }}", "{{ x.replace('q', '') }}", "{{ '<' + x + '>' }}", "{{ '<' ~ x }}"):
        for text in ("</s>", "<|im_start|>", "<q/s>", "/s", "|user|", "/s>"):
            assert tokens_in(source, x=text) == []


def test_comparisons_see_the_characters_of_the_template() -> None:
    for condition in (
        "x == '</s>'",
        "'</s>' in x",
        "x in ['</s>']",
        "x.startswith('</s>')",
        "x.split('</s>') | length == 2",
        "x.endswith(y)",
        "y == x",
        "y.startswith('</')",
    ):
        source = "{% set y = '</s>' %}{% if " + condition + " %}<|user|>{% endif %}"
        assert tokens_in(source, x="</s>") == ["<|user|>"], condition


def test_the_code_avoids_characters_of_the_texts() -> None:
    used = "".join(map(chr, range(0xF0000, 0xF0010)))
    literals = Literals(TOKENS, [used])
    assert not set(used) & set(literals.encode("".join(TOKENS)) + literals.media)
    assert literals.decode(literals.encode("</s> x")) == "</s> x"
