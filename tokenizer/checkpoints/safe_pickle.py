"""Reads pickles of arrays without executing code.

A pickle is a program. Here it may refer only to the names in `_NUMPY` (and, in a torch file, to those that
`tokenizer/checkpoints/torch_zip.py` adds). Each of these names maps to a small function of this module that validates
its arguments and creates an array: neither numpy, jax, flax nor torch is called. Any other name is rejected before it
could be called. Opcodes are validated first, so that a number in the file cannot make the reader allocate more memory
than the size of the file warrants.
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
# Opcodes that pickled arrays never use: numbered classes, instances of old-style classes, out-of-band buffers.
_FORBIDDEN_OPCODES = {
    "EXT1",
    "EXT2",
    "EXT4",
    "INST",
    "OBJ",
    "NEWOBJ_EX",
    "NEXT_BUFFER",
    "PERSID",
    "STRING",
    "UNICODE",
    "LONG",
}
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
    dtype = np.dtype(code) if isinstance(code, str) else None
    if dtype is None or dtype.kind not in "biuf" or dtype.subdtype is not None:
        raise ConfigError(f"arrays of type {code!r} are not supported: weights are numbers")
    return dtype


def _of_buffer(data: Any, dtype: _Dtype, shape: Any, order: str) -> NDArray[Any]:
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _Dtype):
        raise ConfigError("an array has no buffer of bytes")
    return np.frombuffer(data, dtype.dtype).reshape(tuple(int(n) for n in shape), order="F" if order == "F" else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1" or not isinstance(text, str):
        raise ConfigError(f"text in encoding {encoding!r} is not supported")
    return text.encode("latin1")  # older protocols write bytes this way


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
    "_codecs.encode": Callee(_encode),
    "collections.OrderedDict": Callee(lambda *items: Entries(*items)),
    "flax.core.frozen_dict.FrozenDict": Callee(lambda *items: Entries(*items)),
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
        _check_opcodes(data)
        tree = _Reader(io.BytesIO(data), {**_NUMPY, **(names or {})}, ignored_packages, storage).load()
    except _ERRORS as e:
        raise ConfigError(
            f"it is not a complete pickle of arrays ({e or type(e).__name__}): download or copy it again"
        ) from e
    return _unwrap_arrays(tree)


def _check_opcodes(data: bytes) -> None:
    """Reject opcodes that pickled arrays never use, and memo indices larger than the file."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
        if opcode.name in _FORBIDDEN_OPCODES or count > _MAX_OPCODES:
            raise ConfigError(f"it is a pickle with opcode {opcode.name} at position {count}; it was not read")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise ConfigError(
                f"it is a pickle that claims {argument} memo entries in {len(data)} bytes; it was not read"
            )


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
