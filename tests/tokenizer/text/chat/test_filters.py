from __future__ import annotations

from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tokenizer.text.chat.budget import Budget, TemplateLimitError
from tokenizer.text.chat.filters import counted_filters


@pytest.fixture
def environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment()
    budget = Budget()
    budget.start(60)
    made.filters = counted_filters(made.filters, budget)
    return made


@pytest.mark.parametrize(
    "expression",
    [
        "'it\\'s a dog' | title",
        "['b', 'a'] | sort | join('-')",
        "{'b': 1, 'a': 2} | dictsort | list",
        "[{'k': 1}, {'k': 2}] | map(attribute='k') | sum",
        "[{'k': 1}, {'k': 2}] | selectattr('k', 'equalto', 2) | list",
        "[1, 2, 3] | reject('odd') | list | length",
        "'7' | int + ('x' | int(3)) + ('ff' | int(base=16))",
        "2.567 | round(1) ~ ' ' ~ (2.4 | round(method='ceil') | int)",
        "{'k': 'v'}.items() | list",
        "'a-b' | replace('-', '+', 1) | upper",
        "none | default('x', true) ~ ('  y ' | trim)",
        "['a', 'b', 'a'] | unique | join",
    ],
)
def test_a_filter_returns_what_that_of_jinja_returns(
    expression: str, environment: ImmutableSandboxedEnvironment
) -> None:
    source = "{{ " + expression + " }}"
    assert environment.from_string(source).render() == ImmutableSandboxedEnvironment().from_string(source).render()


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("1 | round(16)", {}),
        ("[[1]] | sum(start=[])", {}),
        ("x | title", {"x": "a " * 40_000}),
        ("x | join('a')", {"x": ["a" * (1 << 23)] * 3}),
        ("x | tojson", {"x": ["a" * (1 << 23)] * 3}),
        ("x | string", {"x": ["a" * (1 << 23)] * 3}),
        ("x | replace('a', 'aaa')", {"x": "a" * (1 << 23)}),
        ("namespace(x=1) | string", {}),
    ],
)
def test_a_filter_that_would_make_too_much_is_refused(
    expression: str, values: dict[str, Any], environment: ImmutableSandboxedEnvironment
) -> None:
    with pytest.raises(TemplateLimitError):
        environment.from_string("{{ " + expression + " }}").render(values)
