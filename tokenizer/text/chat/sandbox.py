"""Runs a chat template, which is untrusted code in Jinja, within limits of time, output and memory.

`ImmutableSandboxedEnvironment` gives no access to Python. What it does not limit is limited here: everything that a
template makes or writes is counted (`budget.py`), and only methods and filters are there whose results have a size that
can be counted. The others that `transformers` offers are slow, random, or of no use in a chat.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from schemas.errors import ConfigError
from tokenizer.text.chat.budget import Budget, TemplateLimitError
from tokenizer.text.chat.filters import counted_filters

_MOST_SECONDS = 10.0
_MOST_TEMPLATE_CHARS = 1 << 20
_STRING_METHODS = (
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace "
    "istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit "
    "rstrip split splitlines startswith strip swapcase title upper"
)
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(_STRING_METHODS.split()),
    dict: frozenset(("copy", "get", "items", "keys", "values")),
    list: frozenset(("copy", "count", "index")),
    tuple: frozenset(("count", "index")),
    bytes: frozenset(),
    int: frozenset(),
    float: frozenset(),
}
_OPERATORS = ("+", "-", "*", "/", "//", "**", "%")
_PLACEHOLDER = re.compile(r"%(\([^)]*\))?[-#0 +]*(\d+|\*)")
_ERRORS = (RecursionError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError, LookupError, MemoryError)


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for one template."""

    intercepted_binops = frozenset(_OPERATORS)

    def __init__(self, rewrite: Callable[[nodes.Template], nodes.Template]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=self._written,
            extensions=[GenerationTag, loopcontrols],
        )
        self._rewrite = rewrite
        self.budget = Budget()
        self.filters = counted_filters(self.filters, self.budget)
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _raise_exception, "spend_": self._spend}
        self.globals |= {"concat_": self._concat, "made_": self._made}

    def compile_template(self, source: str) -> Any:
        """Return a template; raises ConfigError if it is not valid."""
        if len(source) > _MOST_TEMPLATE_CHARS:
            raise ConfigError(f"the chat template has {len(source):,} characters, over {_MOST_TEMPLATE_CHARS:,}")
        try:
            tree = _Counting().visit(self._rewrite(self.parse(source)))
            return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))
        except TemplateError as e:
            raise ConfigError(f"the chat template is not valid: line {getattr(e, 'lineno', '?')}: {e}") from e
        except (RecursionError, SyntaxError, MemoryError) as e:
            raise ConfigError(f"the chat template is nested too deeply: {type(e).__name__}") from e
        except (ValueError, TemplateLimitError) as e:  # a number of thousands of digits, or a literal
            raise ConfigError(f"the chat template is not valid: {e}") from e

    def render(self, template: Any, values: Mapping[str, Any]) -> str:
        """Return the output; raises ConfigError for errors of the template, with its own message if it has one."""
        self.budget.start(_MOST_SECONDS)
        parts, size = [], 0
        try:
            for part in template.generate(**values):
                parts.append(part)
                size += len(part)
                self.budget.require(size)
        except TemplateLimitError as e:
            raise ConfigError(f"the chat template is not supported: {e}") from e
        except TemplateError as e:
            raise ConfigError(f"the chat template refuses the messages: {e}") from e
        except _ERRORS as e:
            raise ConfigError(f"the chat template cannot render the messages: {type(e).__name__}: {e}") from e
        return "".join(parts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` if the result is not too large."""
        for side in (left, right):
            if isinstance(side, int):
                self.budget.check_number(side)
        if operator == "*":
            for side, count in ((left, right), (right, left)):
                if isinstance(side, str | list | tuple) and isinstance(count, int):
                    self.budget.require(self.budget.size(side) * max(0, count))
        elif operator == "**" and not (abs(left) <= 1 << 16 and abs(right) <= 3):
            raise TemplateLimitError("it computes a power")
        elif operator == "%" and isinstance(left, str):
            if _PLACEHOLDER.search(left):
                raise TemplateLimitError("it pads a string to a width")
            self.budget.require(len(left) + left.count("%") * self.budget.size(right))
        return self.budget.made(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use an attribute: of plain values, only methods whose results are counted."""
        for kind, methods in _METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return bool(super().is_safe_attribute(obj, attr, value))

    def wrap_str_format(self, value: Any) -> None:
        """Give no template `str.format`, which pads to any width."""

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function or method if the result is not too large."""
        __self.budget.tick()
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "replace" and len(args) >= 2:
            __self.budget.check_replacement(owner, str(args[0]), str(args[1]))
        elif isinstance(owner, str) and name == "join" and args:
            return __self.budget.made(__self._joined(owner, args[0]))
        return __self.budget.made(SandboxedEnvironment.call(__self, __context, __obj, *args, **kwargs))

    def _written(self, value: Any) -> Any:
        """Return a value whose text goes into the output, or into a block that a template keeps, and count it."""
        self.budget.spend(self.budget.size(value))
        return value

    def _spend(self, size: int = 0) -> str:
        self.budget.spend(size)
        return ""

    def _made(self, value: Any) -> Any:
        return self.budget.made(value)

    def _concat(self, *values: Any) -> str:
        self.budget.require(sum(map(self.budget.size, values)))
        return str(self.budget.made("".join(str(value) for value in values)))

    def _joined(self, separator: str, values: Any) -> str:
        parts = list(values)
        self.budget.require(sum(map(self.budget.size, parts)) + len(separator) * len(parts))
        return separator.join(parts)


class GenerationTag(Extension):
    """Accepts `{% generation %} … {% endgeneration %}`, with which some templates mark what the assistant writes."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the content."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Counting(NodeTransformer):
    """Adds calls that count what the template itself writes and makes: its text, loops, literals and `~`."""

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        if size := sum(len(child.data) for child in node.nodes if isinstance(child, nodes.TemplateData)):
            node.nodes.insert(0, _call("spend_", [nodes.Const(size)]))
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.Output([_call("spend_", [])]))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.Output([_call("spend_", [])]))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("concat_", list(node.nodes))

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _call("made_", [node])

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return node if node.ctx == "store" else _call("made_", [node])

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _call("made_", [node])


def _call(name: str, arguments: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load"), arguments, [], None, None)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
