"""The distributions install into clean environments outside the checkout, and what each extra promises runs there.

These tests need the package index and take minutes, so `make test` excludes them; `make test-install` runs them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from schemas.dataset import read_card
from tests.support.inputs.media import make_video
from tests.support.texts import story

pytestmark = pytest.mark.install

CHECKOUT = Path(__file__).parents[2]
VERSION = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
CONTEXT = 256
_OWN_VARIABLES = ("PYTHON", "JAX_", "XLA_", "VIRTUAL_ENV")


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a folder outside the checkout in which its programs run."""

    path: Path

    def run(
        self, program: str, *arguments: str | Path, cwd: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment without the variables that configure the test's own process."""
        command = [str(self.path / "bin" / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=cwd or self.path, env=_inherited(), text=True, capture_output=True, check=False
        )
        assert done.returncode == 0 or not check, f"{command} failed:\n{done.stdout}\n{done.stderr}"
        return done

    @contextmanager
    def started(self, program: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """Start a program as `run` does; it is killed if it has not ended at the end of the block."""
        command = [str(self.path / "bin" / program), *map(str, arguments)]
        with subprocess.Popen(command, cwd=self.path, env=_inherited(), text=True, stdout=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    def install(self, *requirements: str) -> None:
        """Install packages in the versions of constraints.txt; with pip where uv does not reach the package index."""
        python, pins = str(self.path / "bin" / "python"), str(CHECKOUT / "constraints.txt")
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--system-certs", "--python", python]
        done = subprocess.run([*uv, "--constraint", pins, *requirements], env=_inherited(), check=False)
        if done.returncode != 0:
            _pip("--python", python, "install", "--no-compile", "--constraint", pins, *requirements)


def _pip(*arguments: str) -> None:
    """Run the pip of the environment of the tests, which is newer and faster than what `venv` installs."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env=_inherited(), text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"


def create_environment(path: Path, *requirements: str) -> Environment:
    venv.create(path, symlinks=True)
    environment = Environment(path)
    environment.install(*requirements)
    return environment


@dataclass(frozen=True)
class Distributions:
    """The wheel and the source distribution of the checkout, and the wheel that the latter builds."""

    wheel: Path
    source: Path
    wheel_of_source: Path


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    folder = tmp_path_factory.mktemp("distributions")
    builder = create_environment(folder / "builder", "hatchling")
    builder.run("python", "-m", "hatchling", "build", "--directory", folder, cwd=CHECKOUT)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    rebuilt = folder / "rebuilt"
    _pip("wheel", "--no-deps", "--wheel-dir", str(rebuilt), str(source))
    (wheel_of_source,) = rebuilt.glob("*.whl")
    return Distributions(wheel, source, wheel_of_source)


@pytest.fixture(scope="module")
def pipeline(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the extra `pipeline`."""
    return create_environment(tmp_path_factory.mktemp("pipeline") / "venv", f"{distributions.wheel}[pipeline]")


@pytest.fixture(scope="module")
def trainer(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the extra `trainer` only."""
    return create_environment(tmp_path_factory.mktemp("trainer") / "venv", f"{distributions.wheel}[trainer]")


@pytest.fixture(scope="module")
def dataset(pipeline: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that the installed command packed from one video and one book."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "in").mkdir()
    make_video(folder / "in" / "video.mp4", frames=50)
    (folder / "in" / "book.txt").write_text(story(0, 30))
    pipeline.run("longreel", "run", folder / "in", "--out", folder / "out", "--context", str(CONTEXT))
    return folder / "out" / "packed" / str(CONTEXT)


def test_wheel_has_the_command_and_all_packages(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        names = set(wheel.namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, text=True, capture_output=True, check=True).stdout
    packages = ("schemas/", "tokenizer/", "pipeline/", "trainer/")
    expected = {n for n in tracked.splitlines() if n == "longreel.py" or n.startswith(packages)}
    assert "longreel.py" in names
    assert expected <= names
    assert {name.split("/")[0] for name in names} == {
        *(package.rstrip("/") for package in packages),
        "longreel.py",
        f"longreel-{VERSION}.dist-info",
    }


def test_source_distribution_has_the_command_and_builds_the_same_wheel(distributions: Distributions) -> None:
    with tarfile.open(distributions.source) as archive:
        assert any(name.split("/", 1)[1:] == ["longreel.py"] for name in archive.getnames())
    with zipfile.ZipFile(distributions.wheel) as one, zipfile.ZipFile(distributions.wheel_of_source) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}


@pytest.mark.parametrize("extra", ["pipeline", "trainer"])
def test_command_shows_help_and_version(extra: str, request: pytest.FixtureRequest) -> None:
    environment: Environment = request.getfixturevalue(extra)
    where = environment.run("python", "-P", "-c", "import longreel; print(longreel.__file__)").stdout
    assert Path(where.strip()).is_relative_to(environment.path)
    assert "train" in environment.run("longreel", "--help").stdout
    assert environment.run("longreel", "--version").stdout == f"longreel {VERSION}\n"


def test_editable_installation_imports_the_command_from_the_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, text=True, capture_output=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / name, checkout / name)
    environment = create_environment(tmp_path / "venv", "--no-deps", "--editable", str(checkout))
    where = environment.run("python", "-P", "-c", "import longreel, pipeline; print(longreel.__file__)").stdout
    assert Path(where.strip()) == checkout / "longreel.py"
    assert environment.run("longreel", "--version").stdout == f"longreel {VERSION}\n"


def test_pipeline_packs_a_video_and_a_book(dataset: Path, pipeline: Environment) -> None:
    split = read_card(dataset).splits["train"]
    assert split.documents == 2
    assert split.text_tokens > 0
    assert split.vision_tokens > 0
    pipeline.run("longreel", "verify", dataset)


@pytest.fixture(scope="module")
def trained(dataset: Path, trainer: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps by the environment with the extra `trainer`."""
    run = tmp_path_factory.mktemp("trained") / "model"
    options = ("--model.recipe", "debug", "--steps", "2", "--batch-size", "1", "--eval-every", "0")
    trainer.run("longreel", "train", "--dataset", dataset, "--out", run, *options)
    return run


def test_trainer_takes_two_steps_without_beam(trained: Path, trainer: Environment) -> None:
    missing = trainer.run("python", "-c", "import apache_beam", check=False)
    assert missing.returncode == 1
    assert "No module named 'apache_beam'" in missing.stderr
    steps = [line for line in (trained / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
    assert len(steps) == 2


def test_serve_answers_and_ends(trained: Path, pipeline: Environment, distributions: Distributions) -> None:
    pipeline.install(f"{distributions.wheel}[serve]")  # which includes what this environment has
    with pipeline.started("longreel", "serve", trained, "--port", "0") as server:
        assert server.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert found is not None
        assert httpx.get(f"{found[0]}/health", timeout=60).json() == {"status": "ok"}
        body = {"model": trained.name, "prompt": "The clocks", "max_tokens": 3, "temperature": 0}
        usage = httpx.post(f"{found[0]}/v1/completions", json=body, timeout=60).json()["usage"]
        assert usage["prompt_tokens"] > 1
        assert usage["completion_tokens"] <= 3
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
