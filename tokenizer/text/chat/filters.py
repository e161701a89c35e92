"""The filters of chat templates: those of Jinja whose results have a size that can be counted, and `tojson`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment
from jinja2.nodes import EvalContext
from jinja2.runtime import Context

from tokenizer.text.chat.budget import Budget, TemplateLimitError

_NAMES = (
    "abs attr capitalize count d default dictsort e escape first float groupby int items join last length list lower "
    "map max min reject rejectattr replace reverse round safe select selectattr sort string sum title tojson trim "
    "unique upper wordcount"
)
_MOST_DIGITS = 15
_MOST_TITLE_CHARS = 1 << 16  # Jinja takes long to find words

Filter = Callable[..., Any]


def counted_filters(originals: Mapping[str, Filter], budget: Budget) -> dict[str, Filter]:
    """Return the filters that a template may use, which count in `budget` what they make."""
    return _Filters(originals, budget).chosen()


class _Filters:
    def __init__(self, originals: Mapping[str, Filter], budget: Budget) -> None:
        self._originals, self._budget = originals, budget

    def chosen(self) -> dict[str, Filter]:
        own: dict[str, Filter] = {
            "int": self._int,
            "join": self._join(self._originals["join"]),
            "replace": self._replace,
            "round": self._round,
            "sum": self._sum,
            "title": self._title,
            "tojson": self._tojson,
        }
        return {name: self._counted(own.get(name) or self._originals[name]) for name in _NAMES.split()}

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a filter that counts what it makes, and takes only values that can be counted."""

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._budget.tick()
            for value in args:
                if isinstance(value, dict | list | tuple):
                    self._budget.size(value)
            return self._budget.made(function(*map(self._plain, args), **kwargs))

        return counted

    def _plain(self, value: Any) -> Any:
        """Return an argument of a filter; raises TemplateLimitError for objects whose text may have any length."""
        if isinstance(value, Context | EvalContext | Environment | dict | list | tuple | range):
            return value
        if hasattr(value, "__next__") or type(value) in (type({}.keys()), type({}.values()), type({}.items())):
            return self._budget.iterated(value)
        self._budget.size(value)
        return value

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        if indent is not None and not 0 <= indent <= 16:
            raise TemplateLimitError(f"it indents by {indent}")
        self._budget.require(self._budget.size(value) + sum(map(len, separators or ())))
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def _int(self, value: Any, default: int = 0, base: int = 10) -> int:
        if isinstance(value, str) and len(value) > _MOST_DIGITS:
            return default
        try:
            return int(value, base) if isinstance(value, str) else int(value)
        except (TypeError, ValueError, OverflowError):
            try:
                return int(float(value))
            except (TypeError, ValueError, OverflowError):
                return default

    def _round(self, value: float, precision: int = 0, method: str = "common") -> float:
        if abs(precision) > _MOST_DIGITS:
            raise TemplateLimitError(f"it rounds to {precision} digits")
        return float(self._originals["round"](value, precision, method))

    def _sum(self, values: Any, attribute: Any = None, start: float = 0) -> Any:
        if attribute is not None or not isinstance(start, int | float):
            raise TemplateLimitError("it sums values other than numbers")
        return sum(values, start)

    def _title(self, text: Any) -> str:
        if len(str(text)) > _MOST_TITLE_CHARS:
            raise TemplateLimitError(f"it makes a title of {len(str(text)):,} characters")
        return str(self._originals["title"](text))

    def _replace(self, text: Any, old: str, new: str, count: int | None = None) -> str:
        self._budget.check_replacement(str(text), old, new)
        return str(text).replace(old, new, -1 if count is None else count)

    def _join(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def join(context: Any, value: Any, d: str = "", attribute: Any = None) -> Any:
            values = list(value)
            self._budget.require(sum(map(self._budget.size, values)) + len(d) * len(values))
            return original(context, values, d, attribute)

        return join
