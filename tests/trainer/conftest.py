"""One compilation cache for all trainer tests: the same step, compiled again for another run, comes from disk."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    directory = str(tmp_path_factory.mktemp("compiled"))
    options = {"jax_compilation_cache_dir": directory, "jax_persistent_cache_min_compile_time_secs": 0.3}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))  # for the processes that tests start
        yield
