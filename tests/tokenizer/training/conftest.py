from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.vqgan.tiny_vqgan import DOT, TINY
from tests.support.vqgan.tokenizer_training import config, frames
from tokenizer.config import CONFIGS
from tokenizer.training.train import WEIGHTS, train_tokenizer


@pytest.fixture(autouse=True, scope="package")
def _tiny_models_have_names() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, "tiny", lambda: TINY)
        patch.setitem(CONFIGS, "dot", lambda: DOT)
        yield


@pytest.fixture(scope="package")
def whole(tmp_path_factory: pytest.TempPathFactory, _tiny_models_have_names: None) -> Path:
    """The output of a run that was not interrupted."""
    out = tmp_path_factory.mktemp("whole")
    assert train_tokenizer(config(), frames(), out=out) == out / WEIGHTS
    return out
