from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_RUN = """
import jax, jax.numpy as jnp
from schemas.runs.compilation_cache import use_compilation_cache
print(use_compilation_cache())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: jnp.sin(x) * 3)(jnp.ones(8)).sum())
"""


def _run(home: Path, *, devices: int = 1, **variables: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_", "XLA_"))}
    environment = kept | {"XDG_CACHE_HOME": str(home), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    command = [sys.executable, "-c", _RUN]
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr
    return done.stdout.splitlines()[0]


@pytest.mark.slow
def test_programs_are_kept_in_the_users_cache_folder_and_found_again(tmp_path: Path) -> None:
    for _ in range(2):
        assert _run(tmp_path) == str(tmp_path / "longreel" / "compiled")
        kept = {path.name for path in (tmp_path / "longreel" / "compiled").glob("*-cache")}
        assert kept
    assert {path.name for path in (tmp_path / "longreel" / "compiled").glob("*-cache")} == kept


@pytest.mark.slow
def test_a_folder_of_the_user_stays_and_several_cpu_devices_have_no_cache(tmp_path: Path) -> None:
    assert _run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine")) == "None"
    assert _run(tmp_path, devices=2) == "None"
    assert not (tmp_path / "longreel").exists()


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "longreel").touch()
    assert _run(tmp_path) == "None"
