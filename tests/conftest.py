"""Strict numerics and eight virtual devices for every test: silent promotion and rank bugs become errors."""

from __future__ import annotations

import os

# Read by JAX when it is first imported, also in the processes that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
