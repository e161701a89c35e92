"""Runs a chat template, which is untrusted code in Jinja, within limits of time, output and memory.

`ImmutableSandboxedEnvironment` gives no access to Python. What it does not limit is limited here: the length of strings
and lists that operators, filters and methods make, the size of numbers, and time, which every loop checks. The globals
and filters are those that `transformers` offers, without those that are slow or random.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from schemas.errors import ConfigError

MOST_CHARS = 1 << 24  # of the output and of every value
_MOST_SECONDS = 10.0
_MOST_TEMPLATE_CHARS = 1 << 20
_LARGEST_NUMBER = 1 << 63
_REMOVED_FILTERS = ("center", "format", "indent", "pprint", "random", "urlize", "wordwrap", "xmlattr")
_REMOVED_METHODS = ("center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill")
_PLACEHOLDER = re.compile(r"%[-#0 +]*(\d+|\*)")


class TemplateLimitError(Exception):
    """A template needs more time or memory than a chat can need."""


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for one template."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, rewrite: Callable[[nodes.Template], nodes.Template]) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[GenerationTag, loopcontrols]
        )
        self._rewrite = rewrite
        self.deadline = 0.0
        for name in _REMOVED_FILTERS:
            del self.filters[name]
        self.filters |= {"tojson": _tojson, "replace": _replace, "join": _join(self.filters["join"])}
        self.globals |= {"raise_exception": _raise_exception, "tick_": self.tick, "concat_": _concat}

    def compile_template(self, source: str) -> Any:
        """Return a template; raises ConfigError if it is not valid."""
        if len(source) > _MOST_TEMPLATE_CHARS:
            raise ConfigError(f"the chat template has {len(source):,} characters, over {_MOST_TEMPLATE_CHARS:,}")
        try:
            tree = _Ticks().visit(self._rewrite(self.parse(source)))
            return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))
        except TemplateError as e:
            raise ConfigError(f"the chat template is not valid: line {getattr(e, 'lineno', '?')}: {e}") from e
        except (RecursionError, SyntaxError, MemoryError) as e:
            raise ConfigError(f"the chat template is nested too deeply: {type(e).__name__}") from e

    def render(self, template: Any, values: Mapping[str, Any]) -> str:
        """Return the output; raises ConfigError for errors of the template, with its own message if it has one."""
        self.deadline, parts, size = time.monotonic() + _MOST_SECONDS, [], 0
        try:
            for part in template.generate(**values):
                parts.append(part)
                size += len(part)
                _require(size)
                self.tick()
        except TemplateLimitError as e:
            raise ConfigError(f"the chat template is not supported: {e}") from e
        except TemplateError as e:
            raise ConfigError(f"the chat template refuses the messages: {e}") from e
        except (RecursionError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError, LookupError) as e:
            raise ConfigError(f"the chat template cannot render the messages: {type(e).__name__}: {e}") from e
        return "".join(parts)

    def tick(self) -> str:
        """Raise TemplateLimitError after the deadline."""
        if time.monotonic() > self.deadline:
            raise TemplateLimitError(f"it takes more than {_MOST_SECONDS:.0f} s")
        return ""

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` if the result is not too large."""
        self.tick()
        if operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            _require(len(left) + len(right))
        elif operator == "*":
            sizes = [len(side) for side in (left, right) if hasattr(side, "__len__")]
            counts = [side for side in (left, right) if isinstance(side, int)]
            if sizes and counts:
                _require(sizes[0] * abs(counts[0]))
        elif operator == "**" and not (abs(left) <= 1 << 16 and abs(right) <= 3):
            raise TemplateLimitError("it computes a power")
        elif operator == "%" and isinstance(left, str) and _PLACEHOLDER.search(left):
            raise TemplateLimitError("it pads a string to a width")
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and abs(result) > _LARGEST_NUMBER:
            raise TemplateLimitError("it computes with a huge number")
        return result

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute that a template may use."""
        if isinstance(obj, str) and attribute in _REMOVED_METHODS:
            return self.unsafe_undefined(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item, or an attribute that a template may use."""
        if isinstance(obj, str) and argument in _REMOVED_METHODS:
            return self.unsafe_undefined(obj, argument)
        return super().getitem(obj, argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function or method if the result is not too large."""
        __self.tick()
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "replace" and len(args) >= 2:
            _check_replacement(owner, str(args[0]), str(args[1]))
        elif isinstance(owner, str) and name == "join" and args:
            return _joined(owner, list(args[0]))
        return SandboxedEnvironment.call(__self, __context, __obj, *args, **kwargs)


class GenerationTag(Extension):
    """Accepts `{% generation %} … {% endgeneration %}`, with which some templates mark what the assistant writes."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the content."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Ticks(NodeTransformer):
    """Adds a check of the time to loops and macros, and limits `~`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _tick())
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _tick())
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Call(nodes.Name("concat_", "load"), list(node.nodes), [], None, None)


def _tick() -> nodes.Output:
    return nodes.Output([nodes.Call(nodes.Name("tick_", "load"), [], [], None, None)])


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if indent is not None and not 0 <= indent <= 16:
        raise TemplateLimitError(f"it indents by {indent}")
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    _require(len(text))
    return text


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    _check_replacement(str(text), old, new)
    return str(text).replace(old, new, -1 if count is None else count)


def _join(original: Callable[..., Any]) -> Callable[..., Any]:
    from jinja2 import pass_eval_context

    @pass_eval_context
    def join(context: Any, value: Any, d: str = "", attribute: Any = None) -> Any:
        values = list(value)
        _require(sum(len(str(v)) for v in values) + len(d) * len(values) if attribute is None else len(d) * len(values))
        return original(context, values, d, attribute)

    return join


def _joined(separator: str, values: list[Any]) -> str:
    _require(sum(len(v) for v in values) + len(separator) * len(values))
    return separator.join(values)


def _concat(*values: Any) -> str:
    texts = [str(value) for value in values]
    _require(sum(map(len, texts)))
    return "".join(texts)


def _check_replacement(text: str, old: str, new: str) -> None:
    _require(len(text) + (text.count(old) + 1) * len(new))


def _require(size: int) -> None:
    if size > MOST_CHARS:
        raise TemplateLimitError(f"it makes a text of more than {MOST_CHARS:,} characters")
