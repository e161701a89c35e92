"""Checks the opcodes of a pickle before it is read, so that reading takes time and memory in proportion to its size.

A few bytes can otherwise claim any amount: tuples that share their parts twice over take 2^n steps to hash, an integer
of 100 MB is hashed again for each of a million keys, and a memo index allocates a table of its size. The check executes
the pickle with the kinds of its values only: it follows the stack and the memo, and rejects a dictionary key that is
not a string or a small number, and sizes that arrays never have.
"""

from __future__ import annotations

import io
import pickletools
from enum import Enum, auto
from typing import Any, NoReturn

from schemas.errors import ConfigError

_MAX_OPCODES = 1_000_000
_MAX_TUPLE = 1024  # elements; a callee receives them as arguments
_MAX_KEY = 1 << 60  # larger integers can have equal hashes
_MAX_INTEGER_BITS = 256
# Opcodes that pickled arrays never use: numbered classes, instances of old-style classes, out-of-band buffers.
_FORBIDDEN = {
    *("EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX", "NEXT_BUFFER", "READONLY_BUFFER"),
    *("PERSID", "STRING", "UNICODE", "LONG"),
}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_NAMES = {"GLOBAL", "STACK_GLOBAL"}  # of what a pickle may call or ignore; older Lightning uses classes as keys
_TEXTS = (pickletools.pyunicode, pickletools.pystring, pickletools.pybytes, pickletools.pybytes_or_str)
_NUMBERS = (
    pickletools.pyint,
    pickletools.pylong,
    pickletools.pyinteger_or_bool,
    pickletools.pybool,
    pickletools.pynone,
)


class _Kind(Enum):
    KEY = auto()  # a string, bytes, a small integer, a Boolean, None or a name
    OTHER = auto()
    MARK = auto()


def check_pickle(data: bytes) -> None:
    """Raise ConfigError for a pickle that must not be read; ValueError and others for one that is malformed."""
    _Check(len(data)).run(data)


class _Check:
    def __init__(self, size: int) -> None:
        self._size = size
        self._stack: list[_Kind] = []
        self._memo: dict[int, _Kind] = {}
        self._opcodes = 0  # executed so far

    def run(self, data: bytes) -> None:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            if opcode.name in _FORBIDDEN:
                self._reject(f"with opcode {opcode.name}")
            if self._opcodes == _MAX_OPCODES:
                self._reject(f"of more than {_MAX_OPCODES:,} opcodes")
            self._opcodes += 1
            self._step(opcode, argument)

    def _step(self, opcode: Any, argument: Any) -> None:
        name = opcode.name
        if name in _PUTS:
            index = len(self._memo) if name == "MEMOIZE" else int(argument)
            if index > self._opcodes:
                self._reject(f"that claims {index} memo entries in {self._size} bytes")
            self._memo[index] = self._stack[-1]
        elif name in _GETS:
            self._stack.append(self._memo[int(argument)])
        elif name == "DUP":
            self._stack.append(self._stack[-1])
        elif name == "MARK":
            self._stack.append(_Kind.MARK)
        else:
            self._replace(opcode, argument)

    def _replace(self, opcode: Any, argument: Any) -> None:
        """Pop what an opcode takes, check it, and push what it leaves."""
        taken = self._pop(opcode)
        if opcode.name == "TUPLE" and len(taken) > _MAX_TUPLE:
            self._reject(f"with a tuple of {len(taken):,} elements")
        keys = {"SETITEM": taken[1:2], "SETITEMS": taken[1::2], "DICT": taken[::2]}
        hashed = {**keys, "ADDITEMS": taken[1:], "FROZENSET": taken}.get(opcode.name, [])
        if any(kind is not _Kind.KEY for kind in hashed):
            self._reject("whose dictionary keys are not strings or integers")
        for pushed in opcode.stack_after:
            is_name = opcode.name in _NAMES
            self._stack.append(_Kind.KEY if is_name else self._kind_of(pushed, argument))

    def _pop(self, opcode: Any) -> list[_Kind]:
        """Return the values that an opcode takes, without the mark."""
        before = opcode.stack_before
        if pickletools.markobject not in before:
            start = len(self._stack) - len(before)
            if start < 0:
                raise ValueError("the stack is empty")
            taken = self._stack[start:]
            del self._stack[start:]
            return taken
        mark = len(self._stack) - 1
        while self._stack[mark] is not _Kind.MARK:  # IndexError below the stack
            mark -= 1
            if mark < 0:
                raise ValueError("there is no mark")
        under = before.index(pickletools.markobject)  # values below the mark that are taken as well
        if mark < under:
            raise ValueError("the stack is empty")
        taken = self._stack[mark - under : mark] + self._stack[mark + 1 :]
        del self._stack[mark - under :]
        return taken

    def _kind_of(self, pushed: Any, argument: Any) -> _Kind:
        if isinstance(argument, int) and argument.bit_length() > _MAX_INTEGER_BITS:
            self._reject(f"with an integer of {argument.bit_length():,} bits")
        if pushed in _TEXTS:
            return _Kind.KEY
        is_small = not isinstance(argument, int) or -_MAX_KEY < argument < _MAX_KEY
        return _Kind.KEY if pushed in _NUMBERS and is_small else _Kind.OTHER

    def _reject(self, problem: str) -> NoReturn:
        raise ConfigError(f"it is a pickle {problem}; it was not read")
