from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime.engines.other import OtherEngine
from pipeline.runtime.job_log import JobLog
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [((), "--engine beam needs a runner"), (("--runner=NoSuch",), "--runner=NoSuch: Unexpected pipeline runner")],
)
def test_a_runner_that_is_missing_or_unknown_is_an_error(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    log = JobLog.start(tmp_path, "job")
    with pytest.raises(ConfigError, match=message), OtherEngine().pipeline(log, workers=1, options=options, reads=()):
        pass
