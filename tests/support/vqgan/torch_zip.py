"""Writes zip files in the format of torch, without torch."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

_KINDS = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage"}


class _Storage:
    def __init__(self, array: np.ndarray, key: str) -> None:
        self.array, self.key = array, key


@contextlib.contextmanager
def torch_names() -> Iterator[dict[str, Any]]:
    """Make the names of torch available to pickles, also if torch is not installed."""
    made: dict[str, Any] = {}
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}
    for name in (*_KINDS.values(), "BFloat16Storage"):
        made[name] = type(name, (), {"__module__": "torch"})
        setattr(modules["torch"], name, made[name])

    def _rebuild_tensor_v2(*_: Any) -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    made["rebuild"] = modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield made
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def save(
    path: Path, tree: Any, *, folder: str = "archive", claim: tuple[int, ...] | None = None, **zipped: Any
) -> None:
    """Write `tree` with its arrays as tensors; `claim` is a shape to store for all of them instead of their own."""
    storages: list[_Storage] = []
    index = io.BytesIO()
    with torch_names() as names:

        class Pickler(pickle.Pickler):
            def persistent_id(self, obj: Any) -> Any:
                if not isinstance(obj, _Storage):
                    return None
                kind = "BFloat16Storage" if obj.array.dtype == ml_dtypes.bfloat16 else _KINDS[obj.array.dtype.str[1:]]
                return "storage", names[kind], obj.key, "cpu", obj.array.size

            def reducer_override(self, obj: Any) -> Any:
                if not isinstance(obj, np.ndarray):
                    return NotImplemented
                storages.append(_Storage(np.ascontiguousarray(obj), str(len(storages))))
                shape = claim or obj.shape
                stride = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
                return names["rebuild"], (storages[-1], 0, shape, stride, False, OrderedDict())

        Pickler(index, protocol=2).dump(tree)
    with zipfile.ZipFile(path, "w", **zipped) as z:
        z.writestr(f"{folder}/data.pkl", index.getvalue())
        for storage in storages:
            z.writestr(f"{folder}/data/{storage.key}", storage.array.tobytes())
        z.writestr(f"{folder}/version", "3\n")
