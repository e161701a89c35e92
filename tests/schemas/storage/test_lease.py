from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import LeaseHeld
from schemas.storage.lease import lease
from schemas.storage.location import located

_HOLD = """
import sys, time
from pathlib import Path
from schemas.storage.lease import lease
from schemas.storage.location import Location
with lease(Location.parse(sys.argv[1]), owner="other", ttl_s=float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    location = located(tmp_path / "marker")
    location.write(b"")
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(location), "60"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LeaseHeld, match="in use"), lease(location, owner="me"):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with lease(location, owner="me"):
        pass
