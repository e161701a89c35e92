"""Read pickles that hold arrays, and execute nothing.

A pickle is a program. Here it may name only what stands in `_NUMPY` (and, in a torch file, what
`tokenizer/checkpoints/torch_zip.py` adds), and each of those names leads to a small function of this module that
checks its arguments and makes an array: neither numpy, jax, flax nor torch is called, and none of them need be
installed. Any other name is refused before it could be called. Opcodes are gone through beforehand, so that a number
in the file cannot make the reader claim memory that the file does not hold.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError

_MAX_OPCODES = 5_000_000
# What an array's pickle never has: classes by number, the instances of old classes, buffers outside of the file.
_NO_OPCODES = {"EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX", "NEXT_BUFFER", "PERSID", "STRING", "UNICODE", "LONG"}
_ERRORS = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError),
    *(OverflowError, MemoryError, RecursionError),
)


class Door:
    """A name that a pickle may call, and what it does; a pickle can neither look into it nor change it."""

    __slots__ = ("_run",)
    _run: Callable[..., Any]

    def __init__(self, run: Callable[..., Any]) -> None:
        object.__setattr__(self, "_run", run)

    def __call__(self, *args: Any) -> Any:
        """Do what the name does."""
        return self._run(*args)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise ConfigError(f"a pickle that sets {name!r} is not read")

    def __setstate__(self, state: Any) -> NoReturn:
        raise ConfigError("a pickle that changes what it calls is not read")


class PassedOver:
    """Stands for an object that is of no use here (a callback of a training run): made without its class."""

    def __new__(cls, *args: Any, **options: Any) -> PassedOver:
        """Make one of whatever it was made of."""
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Leave an entry out."""


class Entries(dict):
    """Stands for any kind of dictionary; attributes that were pickled with it are passed over."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    def __init__(self, code: Any, *_: Any) -> None:
        self.dtype = np.dtype(ml_dtypes.bfloat16) if code == "bfloat16" else _number_type(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An ndarray in the making: its pickle first makes an empty one, then gives it its state."""

    array: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        self.array = _of_buffer(data, dtype, shape, "F" if is_fortran else "C")


def _number_type(code: Any) -> np.dtype[Any]:
    dtype = np.dtype(code) if isinstance(code, str) else None
    if dtype is None or dtype.kind not in "biuf" or dtype.subdtype is not None:
        raise ConfigError(f"an array of the type {code!r} is not read: weights are numbers")
    return dtype


def _of_buffer(data: Any, dtype: _Dtype, shape: Any, order: str) -> NDArray[Any]:
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _Dtype):
        raise ConfigError("an array whose numbers are not bytes is not read")
    return np.frombuffer(data, dtype.dtype).reshape(tuple(int(n) for n in shape), order="F" if order == "F" else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1" or not isinstance(text, str):
        raise ConfigError(f"text in {encoding!r} is not read")
    return text.encode("latin1")  # how the older protocols write bytes


def _of_jax(run: Any, args: tuple[Any, ...], state: tuple[Any, ...], *_: Any) -> NDArray[Any]:
    array = run(*args) if isinstance(run, Door) else None
    if not isinstance(array, _Array):
        raise ConfigError("a jax array that is not made of a numpy array is not read")
    array.__setstate__(state)
    assert array.array is not None
    return array.array


_RECONSTRUCT = Door(lambda *_: _Array())
_NUMPY: dict[str, Any] = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": Door(_Dtype),
    **{f"numpy.{core}.multiarray._reconstruct": _RECONSTRUCT for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": Door(_of_buffer) for core in ("core", "_core")},
    "ml_dtypes.bfloat16": "bfloat16",
    "_codecs.encode": Door(_encode),
    "collections.OrderedDict": Door(lambda *items: Entries(*items)),
    "flax.core.frozen_dict.FrozenDict": Door(lambda *items: Entries(*items)),
    "jax._src.array._reconstruct_array": Door(_of_jax),
}


class _Reader(pickle.Unpickler):
    def __init__(
        self, data: io.BytesIO, names: Mapping[str, Any], passed_over: tuple[str, ...], storage: Callable[[Any], Any]
    ) -> None:
        super().__init__(data)
        self._names, self._passed_over, self._storage = names, passed_over, storage

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name, or refuse it."""
        whole = f"{module}.{name}"
        if whole in self._names:
            return self._names[whole]
        if module.split(".")[0] in self._passed_over:
            return PassedOver
        raise ConfigError(
            f"it is a pickle that calls {whole!r}, and was not read: weights need arrays and nothing else. "
            "If you trust where it comes from, save its arrays as .safetensors"
        )

    def persistent_load(self, pid: Any) -> Any:
        """Return a torch file's storage."""
        return self._storage(pid)


def _no_storage(pid: Any) -> NoReturn:
    raise ConfigError("it is a pickle whose arrays stand in another file")


def load(
    data: bytes,
    *,
    names: Mapping[str, Any] | None = None,
    passed_over: tuple[str, ...] = (),
    storage: Callable[[Any], Any] = _no_storage,
) -> Any:
    """Return what a pickle holds: numbers, texts, lists, dictionaries, and numpy arrays.

    `names` are the further names that it may use, `passed_over` the packages whose objects are left out, `storage`
    is given what a torch file says of each storage.
    Raises ConfigError for a pickle that calls anything else, is cut short, or is none.
    """
    try:
        _check_opcodes(data)
        tree = _Reader(io.BytesIO(data), {**_NUMPY, **(names or {})}, passed_over, storage).load()
    except _ERRORS as e:
        raise ConfigError(
            f"it is no whole pickle of arrays ({e or type(e).__name__}): download or copy it again"
        ) from e
    return _without_stand_ins(tree)


def _check_opcodes(data: bytes) -> None:
    """Refuse what no pickle of arrays has, and places in the memo beyond the file's own length."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
        if opcode.name in _NO_OPCODES or count > _MAX_OPCODES:
            raise ConfigError(f"it is a pickle with {opcode.name} at opcode {count}, and was not read")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise ConfigError(f"it is a pickle that claims {argument} places in {len(data)} bytes, and was not read")


def _without_stand_ins(node: Any) -> Any:
    """Put arrays in the places of those that made them, in dictionaries alone; each dictionary is visited once."""
    if isinstance(node, _Array):
        return node.array
    seen, waiting = set(), [node]
    while waiting:
        here = waiting.pop()
        if not isinstance(here, dict) or id(here) in seen:
            continue
        seen.add(id(here))
        for key, value in here.items():
            if isinstance(value, _Array):
                here[key] = value.array
            waiting.append(value)
    return node
