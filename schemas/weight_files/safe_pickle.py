"""Reads pickles of arrays without executing code.

A pickle is a program. Here it may refer only to the names in `_NUMPY` (and, in a torch file, to those that
`schemas/weight_files/torch_zip.py` adds). Each of these names maps to a small function of this module that validates
its arguments and creates an array: neither numpy, jax, flax nor torch is called. Any other name is rejected before it
could be called. Opcodes are checked first (`schemas/weight_files/pickle_check.py`), and what the functions make counts
against a budget, so that time and memory are in proportion to the size of the file.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.weight_files.pickle_check import check_pickle

_MAX_NAME = 256  # characters of a module and of a name in it
_MAX_DTYPE = 16  # characters of the name of a type
_MAX_DIMS = 16  # of an array
_ERRORS = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError),
    *(OverflowError, MemoryError, RecursionError),
)


class Callee:
    """A function that a pickle may call; a pickle can neither inspect nor modify it."""

    __slots__ = ("_run",)
    _run: Callable[..., Any]

    def __init__(self, run: Callable[..., Any]) -> None:
        object.__setattr__(self, "_run", run)

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        return self._run(*args)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise ConfigError(f"it is a pickle that sets {name!r}; it was not read")

    def __setstate__(self, state: Any) -> NoReturn:
        raise ConfigError("it is a pickle that modifies what it calls; it was not read")


class Ignored:
    """Replaces an object that is not needed (such as a callback of a training run), without its class."""

    def __new__(cls, *args: Any, **options: Any) -> Ignored:
        """Accept any arguments."""
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Ignore an entry."""


class Entries(dict):
    """Replaces any kind of dictionary; attributes that were pickled with it are ignored."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    def __init__(self, code: Any, *_: Any) -> None:
        self.dtype = np.dtype(ml_dtypes.bfloat16) if code == "bfloat16" else _number_type(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An ndarray under construction: a pickle first creates an empty one, then sets its state."""

    array: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        self.array = _of_buffer(data, dtype, shape, "F" if is_fortran else "C")


def _number_type(code: Any) -> np.dtype[Any]:
    dtype = np.dtype(code) if isinstance(code, str) and len(code) <= _MAX_DTYPE else None
    if dtype is None or dtype.kind not in "biuf" or dtype.subdtype is not None:
        raise ConfigError(f"arrays of type {shown(code)} are not supported: weights are numbers")
    return dtype


def _of_buffer(data: Any, dtype: _Dtype, shape: Any, order: str) -> NDArray[Any]:
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _Dtype):
        raise ConfigError("an array has no buffer of bytes")
    if not isinstance(shape, tuple | list) or len(shape) > _MAX_DIMS:
        raise ConfigError("an array has no valid shape")
    return np.frombuffer(data, dtype.dtype).reshape(tuple(int(n) for n in shape), order="F" if order == "F" else "C")


class _Budget:
    """Makes bytes and dictionaries, as long as they are together not larger than the pickle can warrant."""

    def __init__(self, size: int) -> None:
        self._left = 2 * size + 1024

    def encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        """Return text as bytes; older protocols write bytes this way."""
        if encoding != "latin1" or not isinstance(text, str):
            raise ConfigError(f"text in encoding {shown(encoding)} is not supported")
        self._spend(len(text))
        return text.encode("latin1")

    def entries(self, *items: Any) -> Entries:
        """Return a dictionary of another dictionary, or of pairs as older protocols write them."""
        given = items[0] if items else {}
        if not isinstance(given, dict | list | tuple):
            raise ConfigError("a dictionary is made of something else than pairs")
        self._spend(len(given))
        if not isinstance(given, dict) and not all(_is_pair(pair) for pair in given):
            raise ConfigError("the keys of a dictionary are not strings or integers")
        return Entries(given)

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise ConfigError("it is a pickle that makes far more than it contains; it was not read")


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str | int)


def shown(value: Any) -> str:
    """Return a value of a pickle for a message: only short strings, as others can be of any size."""
    return repr(value) if isinstance(value, str) and len(value) <= _MAX_NAME else f"a {type(value).__name__}"


def _of_jax(run: Any, args: tuple[Any, ...], state: tuple[Any, ...], *_: Any) -> NDArray[Any]:
    array = run(*args) if isinstance(run, Callee) else None
    if not isinstance(array, _Array):
        raise ConfigError("a jax array does not contain a numpy array")
    array.__setstate__(state)
    assert array.array is not None
    return array.array


_RECONSTRUCT = Callee(lambda *_: _Array())
_NUMPY: dict[str, Any] = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": Callee(_Dtype),
    **{f"numpy.{core}.multiarray._reconstruct": _RECONSTRUCT for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": Callee(_of_buffer) for core in ("core", "_core")},
    "ml_dtypes.bfloat16": "bfloat16",
    "jax._src.array._reconstruct_array": Callee(_of_jax),
}


class _Reader(pickle.Unpickler):
    def __init__(
        self,
        data: io.BytesIO,
        names: Mapping[str, Any],
        ignored_packages: tuple[str, ...],
        storage: Callable[[Any], Any],
    ) -> None:
        super().__init__(data)
        self._names, self._ignored_packages, self._storage = names, ignored_packages, storage

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a name, or reject the name."""
        if len(module) > _MAX_NAME or len(name) > _MAX_NAME:
            raise ConfigError(f"it is a pickle with a name of {len(module) + len(name):,} characters; it was not read")
        whole = f"{module}.{name}"
        if whole in self._names:
            return self._names[whole]
        if module.split(".")[0] in self._ignored_packages:
            return Ignored
        raise ConfigError(
            f"it is a pickle that calls {whole!r}; it was not read, as weights need only arrays. "
            "If you trust its source, save its arrays as .safetensors"
        )

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage of a torch file."""
        return self._storage(pid)


def _no_storage(pid: Any) -> NoReturn:
    raise ConfigError("it is a pickle whose arrays are in another file")


def load(
    data: bytes,
    *,
    names: Mapping[str, Any] | None = None,
    ignored_packages: tuple[str, ...] = (),
    storage: Callable[[Any], Any] = _no_storage,
) -> Any:
    """Return the contents of a pickle: numbers, strings, lists, dictionaries and numpy arrays.

    `names` are additional names that it may refer to, objects of `ignored_packages` are dropped, and `storage` is
    called with the description of each storage of a torch file. Raises ConfigError if the pickle calls anything else,
    is truncated, or is not a pickle.
    """
    try:
        check_pickle(data)
        budget = _Budget(len(data))
        made = {
            "_codecs.encode": Callee(budget.encode),
            "collections.OrderedDict": Callee(budget.entries),
            "flax.core.frozen_dict.FrozenDict": Callee(budget.entries),
        }
        tree = _Reader(io.BytesIO(data), {**_NUMPY, **made, **(names or {})}, ignored_packages, storage).load()
    except ConfigError:
        raise
    except _ERRORS as e:
        raise ConfigError(
            f"it is not a complete pickle of arrays ({e or type(e).__name__}): download or copy it again"
        ) from e
    return _unwrap_arrays(tree)


def _unwrap_arrays(node: Any) -> Any:
    """Replace `_Array` objects in dictionaries by their arrays; each dictionary is visited once."""
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
