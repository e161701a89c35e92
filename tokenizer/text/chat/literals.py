"""Tells the text of a chat template from the text of messages.

A special token in the output counts only if the template wrote it. So the template is changed before it is compiled: in
its literals, each character that occurs in a special token is replaced by a private-use character. The messages are not
changed, so whatever a template does to them (trim, split, replace), their `<|im_end|>` stays text.

Literals that only inspect a string keep their characters: operands of comparisons, arguments of methods such as `split`
and of filters, and keys. Comparisons of values that come from other literals see their original characters.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

_PLANES = (0xF0000, 0x100000)  # private use
_PLANE_SIZE = 0xFFFE
_ASKING = ("startswith", "endswith", "find", "rfind", "index", "count")
_CUTTING: tuple[str, ...] = (
    "split",
    "rsplit",
    "splitlines",
    "partition",
    "rpartition",
    "strip",
    "lstrip",
    "rstrip",
    "replace",
)
_CUTTING += ("removeprefix", "removesuffix", "get", "pop")
_ROLE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Literals:
    """A code for the characters of special tokens, with private-use characters that none of `texts` contains.

    Attributes:
        media: a private-use character that stands for an image or a video.
    """

    def __init__(self, tokens: Collection[str], texts: Iterable[str]) -> None:
        alphabet = sorted({c for token in tokens for c in token if not c.isspace()})
        first = _unused(len(alphabet) + 1, texts)
        self.media = chr(first)
        self._code = {ord(c): first + 1 + i for i, c in enumerate(alphabet)}
        self._plain = {code: c for c, code in self._code.items()}
        self._tokens = tokens
        self._telling = {c for c in alphabet if not c.isalnum()}

    def encode(self, text: str) -> str:
        """Return a literal of the template in the code."""
        return text.translate(self._code)

    def decode(self, value: Any) -> Any:
        """Return a string, or the strings of a list, without the code."""
        if isinstance(value, str):
            return value.translate(self._plain)
        return [self.decode(item) for item in value] if isinstance(value, list | tuple) else value

    def pattern(self, roles: Collection[str]) -> re.Pattern[str]:
        """Return the pattern of special tokens in an output, and of `media`.

        Templates such as `'<|' + message.role + '|>'` make a token from a literal and a role.
        """
        spellings = {self.encode(token) for token in self._tokens}
        for token in self._tokens:
            for role in filter(_ROLE.fullmatch, roles):
                before, found, after = token.partition(role)
                if found and before and after:
                    spellings.add(self.encode(before) + role + self.encode(after))
        ordered = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
        return re.compile("|".join(map(re.escape, [self.media, *ordered])))

    def rewrite(self, template: nodes.Template) -> nodes.Template:
        """Return the template with its literals in the code."""
        rewritten: nodes.Template = _Rewriter(self).visit(template)
        return rewritten

    def is_telling(self, text: str) -> bool:
        """Return whether a string can be a part of a special token: a word alone, such as a role, is not."""
        return any(c in self._telling for c in text)


class _Rewriter(NodeTransformer):
    def __init__(self, literals: Literals) -> None:
        self._literals = literals

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        return nodes.TemplateData(self._literals.encode(node.data), lineno=node.lineno)

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        if isinstance(node.value, str) and self._literals.is_telling(node.value):
            return nodes.Const(self._literals.encode(node.value), lineno=node.lineno)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        operands = [nodes.Operand(operand.op, _plain(operand.expr)) for operand in node.ops]
        return nodes.Compare(_plain(node.expr), operands, lineno=node.lineno)

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        self.generic_visit(node)
        method = node.node.attr if isinstance(node.node, nodes.Getattr) else None
        if method in (*_ASKING, *_CUTTING):
            node.args = [_plain(argument) for argument in node.args]
        if method in _ASKING and isinstance(node.node, nodes.Getattr):
            node.node.node = _plain(node.node.node)
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        node.args = [_plain(self.visit(argument)) for argument in node.args]
        node.node = self.visit(node.node) if node.node is not None else None
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        node.node = _plain(node.node)
        node.args = [_plain(argument) for argument in node.args]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        node.node = self.visit(node.node)
        if not isinstance(node.arg, nodes.Const):
            node.arg = self.visit(node.arg)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        node.value = self.visit(node.value)
        return node


def _plain(expression: nodes.Expr) -> nodes.Expr:
    return nodes.Filter(expression, "plain_", [], [], None, None)


def _unused(count: int, texts: Iterable[str]) -> int:
    """Return the first of `count` consecutive private-use characters that no text contains."""
    used = sorted({ord(c) for text in texts if not text.isascii() for c in text if ord(c) >= _PLANES[0]})
    for plane in _PLANES:
        first = plane
        for code in used:
            if first <= code < first + count:
                first = code + 1
        if first + count <= plane + _PLANE_SIZE:
            return first
    raise ValueError(f"the messages use all private-use characters, {len(used):,}")
