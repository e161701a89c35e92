"""The local engine: what its threads may print. Jobs on it are tested in test_beam."""

from __future__ import annotations

import socket
import threading

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.data_plane import GrpcClientDataChannel

from pipeline.runtime.engines.local import ignore_closed_connections


def _wait_for_reader(data: GrpcClientDataChannel) -> None:
    for thread in threading.enumerate():
        if thread.name == "read_grpc_client_inputs":
            thread.join(60)
    assert data._reads_finished.is_set()


def test_a_connection_that_is_closed_when_the_job_has_ended_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    ignore_closed_connections()
    with socket.socket() as nothing:
        nothing.bind(("localhost", 0))  # not listening
        data = GrpcClientDataChannel(
            beam_fn_api_pb2_grpc.BeamFnDataStub(grpc.insecure_channel(f"localhost:{nothing.getsockname()[1]}"))
        )
        _wait_for_reader(data)
    assert isinstance(data._exception, grpc.RpcError)
    assert "Traceback" not in capfd.readouterr().err


def test_another_error_of_a_thread_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: reported.append(arguments.exc_type))
    ignore_closed_connections.__wrapped__()
    thread = threading.Thread(target=lambda: [][0])
    thread.start()
    thread.join()
    assert reported == [IndexError]
