"""`longreel takedown` on a workspace of real files, killed while it works."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import longreel
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from tests.pipeline.cli.conftest import CONTEXT
from tests.support.leftovers import files_with
from tests.support.servers.command_server import CommandServer
from tests.support.stored_files import file_of

pytestmark = pytest.mark.slow


@pytest.fixture
def out(workspace: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(workspace, tmp_path / "out"))


@pytest.mark.parametrize(
    "sign", ["takedown/pending/*/request.json", "packed/*/.train-*.tmp", "takedown/blocked/*.parquet"]
)
def test_a_takedown_that_is_killed_leaves_readable_datasets_and_the_same_command_completes_it(
    out: Path, commands: CommandServer, sign: str
) -> None:
    store = TokenStore(Workspace.existing(out).tokens)
    (row,) = [row for row in store.table().to_pylist() if row["uri"].endswith("b.mp4")]
    tokens = store.read(row["unit"], row["batch"], row["row"], 40, 40).tobytes()
    dataset = str(out / "packed" / str(CONTEXT))
    assert len(files_with(out, tokens)) == 2
    command = ["takedown", "b.mp4", "--out", str(out)]

    def kill(child: int) -> None:
        deadline = time.monotonic() + 60
        while not list(out.glob(sign)) and not list(out.glob("takedown/receipts/*")) and time.monotonic() < deadline:
            time.sleep(0.0005)
        os.kill(child, signal.SIGKILL)

    commands.run(command, kill)
    assert longreel.main(["verify", dataset]) == 0
    assert longreel.main(command) == 0
    assert longreel.main(["verify", dataset, "--tokens", str(out / "tokens")]) == 0
    assert files_with(out, tokens) == []
    assert len(list((out / "takedown" / "receipts").glob("*.json"))) == 1
    uris = pq.read_table(file_of(out / "packed" / str(CONTEXT), "documents.parquet"))["uri"].to_pylist()
    assert not any(uri.endswith("b.mp4") for uri in uris)


def test_the_former_command_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["forget", "b.mp4"]) == 2
    assert "unknown subcommand 'forget'" in capsys.readouterr().err
