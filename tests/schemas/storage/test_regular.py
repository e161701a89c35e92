from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pipeline.cli.toml import read_config
from pipeline.packing.curriculum import read_curriculum
from schemas.dataset import read_card
from schemas.errors import ConfigError, DatasetError
from schemas.runs.metrics import read_metrics
from schemas.shards.ranged import SequenceFile
from schemas.storage.location import located
from schemas.storage.regular import open_appending, open_regular, regular_descriptor
from schemas.tables import read_table
from tokenizer.training.perceptual import load as load_perceptual


def test_a_regular_file_is_opened_through_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as stream:
        assert stream.read() == b"data"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nowhere")


def test_a_fifo_a_socket_a_device_and_a_folder_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "fifo", tmp_path / "socket", tmp_path, Path("/dev/zero")):
            with pytest.raises(OSError, match="not a regular file"):
                open_regular(path)


def test_no_reader_waits_for_a_fifo_in_place_of_its_file(tmp_path: Path) -> None:
    fifo = tmp_path / "dataset.json"
    os.mkfifo(fifo)
    refused = "not a regular file but a FIFO"
    for read in (located(fifo).read, lambda: located(fifo).read_range(0, 1), lambda: read_metrics(fifo)):
        with pytest.raises(OSError, match=refused):
            read()
    for damaged in (
        lambda: read_card(tmp_path),
        lambda: read_table(fifo),
        SequenceFile(fifo, 0, 1, "x", checksum="").__enter__,
    ):
        with pytest.raises(DatasetError, match=refused):
            damaged()
    for option in (lambda: read_config(fifo, []), lambda: read_curriculum(fifo), lambda: load_perceptual(fifo)):
        with pytest.raises(ConfigError, match=refused):
            option()


def test_the_descriptor_of_a_regular_file_reads_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    descriptor = regular_descriptor(tmp_path / "file")
    assert os.read(descriptor, 10) == b"data"
    os.close(descriptor)


def test_appending_makes_a_file_or_continues_it_and_takes_nothing_else(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        with open_appending(tmp_path / "file") as stream:
            stream.write(text)
    assert (tmp_path / "file").read_bytes() == b"onetwo"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("file")
    for name, what in (("fifo", "FIFO"), ("link", "link"), (".", "folder")):
        with pytest.raises(OSError, match=f"not a regular file but a {what}"):
            open_appending(tmp_path / name)
