from __future__ import annotations

import time
from typing import Any

import pytest

from schemas.errors import ConfigError
from tokenizer.text.chat.sandbox import Sandbox


def render(source: str, **values: Any) -> str:
    sandbox = Sandbox(lambda tree: tree)
    return sandbox.render(sandbox.compile_template(source), values)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ {'b': 'é', 'a': [1]} | tojson }}", '{"b": "é", "a": [1]}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("a{% generation %}{{ x }}{% endgeneration %}", "ay"),
        ("{{ 'a-b' | replace('-', '+') }}{{ ['a', 'b'] | join(', ') }}{{ 'x'.join(['1', '2']) }}", "a+ba, b1x2"),
        ("{{ 'a' ~ 1 ~ x }}{{ 'q'.replace('q', 'r') }}{{ '%s!' % x }}{{ 'ab' * 2 }}{{ 2 ** 3 }}", "a1yry!abab8"),
        ("{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(x) }}", "<y>"),
        ("  {% if true %}\nq\n  {% endif %}\n", "q\n"),
    ],
)
def test_templates_have_what_transformers_offers(source: str, expected: str) -> None:
    assert render(source, x="y") == expected


BOMBS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x.join([ns.x, ns.x]) %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{{ 'a' * 9999999999 }}",
    "{{ 9999999999 * [1] }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ '{:9999999999}'.format(1) }}",
    "{{ '{:9999999999}'['format'](1) }}",
    "{{ 'a'.ljust(9999999999) }}",
    "{{ 'a' | center(9999999999) }}",
    "{{ [1] | tojson(indent=9999999999) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.append(1) }}",
    "{% include 'x' %}",
    "{{ x",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ undefined.attribute }}",
    "a" * (1 << 21),
    "{{ 1 | round(99999999, 'ceil') }}",
    "{{ [1] | batch(999999999, 'x') | list }}",
    "{{ [1] | slice(999999999) | list }}",
    "{{ lipsum(n=999999) }}",
    "{{ 'a'.encode().ljust(9999999999) }}",
    "{{ (1).to_bytes(9999999999, 'big') }}",
    "{{ ('{:9999999999}' | attr('format'))(1) }}",
    "{% set ns = namespace(x='ab') %}"
    "{% for i in range(99) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(9) %}{% set ns.x %}"
    + "{{ ns.x }}" * 999
    + "{% endset %}{% endfor %}",
    "{% macro m(a) %}{{ a }}{{ a }}{% endmacro %}"
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = m(ns.x) %}{% endfor %}",
    "{% macro m() %}"
    + "a" * 9999
    + "{% endmacro %}{% set x %}{% for i in range(99999) %}{{ m() }}{% endfor %}{% endset %}",
    "{% set x = ['a'] * 9999 %}{% set y = [x] * 9999 %}{{ [y] * 9999 }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = {1: ns.x, 2: ns.x} %}{% endfor %}",
    "{% set a = namespace(x=1) %}{% set b = namespace(x=[a, a]) %}{{ b.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x, [1] * 99999] %}{% endfor %}",
    "{{ ([[1] * 999] * 999) | sum(start=[]) }}",
    "{{ ('%(a)s' * 9999) % {'a': 'a' * 9999999} }}",
    "{{ 0x" + "f" * 99999 + " * 2 }}",
    "{{ " + "9" * 9999 + " }}",
    "{{ ('a ' * 9999999) | title }}",
]


@pytest.mark.parametrize("source", BOMBS, ids=range(len(BOMBS)))
def test_a_template_that_does_too_much_is_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizer.text.chat.sandbox._MOST_SECONDS", 0.3)
    started = time.monotonic()
    with pytest.raises(ConfigError, match="the chat template"):
        render(source, messages=[])
    assert time.monotonic() - started < 10


def test_the_message_of_a_template_is_shown() -> None:
    with pytest.raises(ConfigError, match="refuses the messages: no system role"):
        render("{{ raise_exception('no system role') }}")
