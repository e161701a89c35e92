"""Settings of every test: strict numerics, eight virtual devices, one compilation cache, and reproducible examples.

The environment variables are read when JAX and NumPy are first imported, also in the processes that tests start.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile

import pytest
from hypothesis import HealthCheck, settings

__all__ = ["gcs", "gcs_of_session", "s3", "s3_of_session"]  # fixtures of all tests
_CACHE = "JAX_COMPILATION_CACHE_DIR"
# What they give is made by whole jobs, or by a server or processes of their own.
_COSTLY_FIXTURES = {"clips", "cluster", "commands", "gcs", "long_video", "numbered_videos", "s3"}

for _name, _value in {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "8",
    # Silent promotion of dtypes and ranks becomes an error.
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    # Nearly all of the suite's time is compilation. Tests compare numbers of one program with those of another, never
    # with stored ones, so LLVM's cheapest level is as good a compiler as any.
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    # Threads that share a small matrix product wait for one another for most of it: 150 times the processor time where
    # other processes use the cores. Jobs analyze videos in child processes with one thread, too.
    "OPENBLAS_NUM_THREADS": "1",
}.items():
    os.environ.setdefault(_name, _value)

# This imports JAX.
from tests.support.servers.object_servers import gcs, gcs_of_session, s3, s3_of_session  # noqa: E402

# Examples are the same on every machine and in every run; `make fuzz` draws new ones, and many more.
settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile(
    "fuzz", max_examples=2000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config: pytest.Config) -> None:
    """Create the compilation cache that the workers of this run, and the processes they start, share."""
    if _CACHE not in os.environ:
        os.environ[_CACHE] = directory = tempfile.mkdtemp(prefix="longreel-compiled-")
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


def pytest_sessionstart() -> None:
    """Import without looking for garbage: there is none, and every search walks through all modules."""
    gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests with a costly fixture as slow, and run the modules with slow tests first.

    A long module that begins last would leave the other worker idle.
    """
    for item in items:
        if isinstance(item, pytest.Function) and _COSTLY_FIXTURES.intersection(item.fixturenames):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Search rarely for garbage, and not in what was imported; make Beam quicker if a test runs jobs."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()
    if "pipeline.runtime.beam" in sys.modules:
        from tests.support.beam_options import remember_options
        from tests.support.beam_signatures import remember_signatures

        remember_options()
        remember_signatures()
