from __future__ import annotations

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from schemas.errors import ConfigError
from trainer.run.profile import StepProfile, step_range

pytestmark = pytest.mark.slow


def test_a_range_of_steps_includes_both_ends() -> None:
    assert step_range("3:12") == (3, 12)
    assert step_range("4:4") == (4, 4)


@pytest.mark.parametrize("text", ["", "3", "3:", ":3", "0:2", "5:4", "-1:3", "1:2:3", "a:b", "1.5:2"])
def test_anything_else_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match="profile_steps must be FIRST:LAST"):
        step_range(text)


def test_the_profile_of_some_steps_can_be_read(tmp_path: Path) -> None:
    profile, written = StepProfile(tmp_path, "2:3"), []
    for step in range(1, 6):
        profile.before(step)
        jnp.ones(step).sum().block_until_ready()
        written += [step] if profile.after(step) else []
    profile.close()
    assert written == [3]
    (perfetto,), (xprof,) = (list(profile.path.rglob(name)) for name in ("perfetto_trace.json.gz", "*.xplane.pb"))
    events = json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
    assert sum(event.get("name") == "train" for event in events) == 2
    planes = jax.profiler.ProfileData.from_file(str(xprof)).planes
    found = [event for plane in planes for line in plane.lines for event in line.events if event.name == "train"]
    assert sorted(dict(event.stats)["step_num"] for event in found) == [2, 3]
    assert all(event.duration_ns > 0 for event in found)


def test_a_run_that_stops_within_the_steps_writes_what_it_recorded(tmp_path: Path) -> None:
    profile = StepProfile(tmp_path, "1:9")
    profile.before(1)
    profile.close()
    assert list(profile.path.rglob("*.xplane.pb"))
    StepProfile(tmp_path / "none", None).before(1)
    assert not (tmp_path / "none").exists()
