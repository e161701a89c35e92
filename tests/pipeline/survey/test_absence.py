"""Items of earlier runs that are absent: kept with all that was made of them, until --prune."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import longreel
from pipeline.dedup.config import DedupConfig
from pipeline.dedup.job import dedup_items
from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.manifest_file import read_absent
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.sources.access import STRICT, AccessConfig
from pipeline.survey.absence import UNLISTED, AbsenceConfig, with_absent
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from schemas.errors import AbsenceError, ConfigError, InputError, ManifestError, Reason
from schemas.large_tables import as_large
from schemas.records import SURVEY
from schemas.rows import ManifestItem, manifest_table
from tests.support.inputs.http_server import ALLOWED, Answer, serving
from tests.support.inputs.media import numbered
from tests.support.stages import write_books
from tests.support.texts import story

pytestmark = pytest.mark.slow

KEEP, PRUNE = AbsenceConfig(max_absent=1), AbsenceConfig(prune=True)
Rows = dict[str, dict[str, object]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of eight books."""
    return write_books(tmp_path / "in", 8)


def survey(
    inputs: Path | list[Path | str] | str,
    out: Path,
    absence: AbsenceConfig | None = None,
    access: AccessConfig = STRICT,
) -> tuple[JobReport, Rows]:
    """Survey inputs with one item per unit, and return the report and the rows by file name."""
    workspace = Workspace.open(out, units=10_000)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), access=access)
    given = [str(path) for path in (inputs if isinstance(inputs, list) else [inputs])]
    report = survey_items(given, workspace, worker, Runner(), absence=absence or AbsenceConfig())
    return report, {Path(str(r["uri"])).name: r for r in read_units(workspace.survey, SURVEY).to_pylist()}


def files(out: Path) -> dict[str, bytes]:
    """Return every file of a workspace except the journals."""
    return {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file() and "logs" not in path.parts}


def move_away(folder: Path, away: Path, *names: str) -> None:
    away.mkdir()
    for name in names:
        (folder / name).rename(away / name)


def test_many_items_that_disappear_at_once_end_the_survey_and_change_nothing(folder: Path, tmp_path: Path) -> None:
    survey(folder, tmp_path / "out")
    before = files(tmp_path / "out")
    move_away(folder, tmp_path / "away", "0.txt", "3.txt", "5.txt")
    with pytest.raises(AbsenceError, match=r"3 of 8 known items are absent \(3 not listed by the inputs\)") as e:
        survey(folder, tmp_path / "out")
    assert all(text in str(e.value) for text in (str(folder / "0.txt"), "--max-absent 1", "--prune"))
    assert files(tmp_path / "out") == before


def test_absent_items_keep_their_rows_and_are_not_surveyed_again_when_they_are_back(
    folder: Path, tmp_path: Path
) -> None:
    _, before = survey(folder, tmp_path / "out")
    move_away(folder, tmp_path / "away", "0.txt", "3.txt", "5.txt")
    report, rows = survey(folder, tmp_path / "out", KEEP)
    assert (report.items, report.kept, report.new) == (8, 8, 0)
    assert rows == before
    assert report.line().count("absent and kept as they were: 3 of 8 known items (3 not listed by the inputs)") == 1
    for path in (tmp_path / "away").iterdir():
        path.rename(folder / path.name)
    report, rows = survey(folder, tmp_path / "out")
    assert (report.new, report.notes, rows) == (0, (), before)


def test_one_absent_item_is_kept_without_an_option(folder: Path, tmp_path: Path) -> None:
    survey(folder, tmp_path / "out")
    (folder / "0.txt").unlink()
    report, rows = survey(folder, tmp_path / "out")
    assert "0.txt" in rows
    assert "absent and kept as they were: 1 of 8 known items" in report.line()


def test_only_items_that_became_absent_since_the_last_run_count(folder: Path, tmp_path: Path) -> None:
    survey(folder, tmp_path / "out")
    move_away(folder, tmp_path / "away", "0.txt", "1.txt", "2.txt")
    survey(folder, tmp_path / "out", KEEP)
    assert "3 of 8" in survey(folder, tmp_path / "out")[0].line()
    (folder / "7.txt").unlink()
    assert "4 of 8" in survey(folder, tmp_path / "out")[0].line()


def test_prune_removes_what_is_absent(folder: Path, tmp_path: Path) -> None:
    survey(folder, tmp_path / "out")
    move_away(folder, tmp_path / "away", "0.txt", "3.txt", "5.txt")
    report, rows = survey(folder, tmp_path / "out", PRUNE)
    assert sorted(rows) == ["1.txt", "2.txt", "4.txt", "6.txt", "7.txt"]
    assert (report.items, report.notes) == (5, ())


def test_a_folder_that_is_gone_or_empty_is_an_error_that_changes_nothing(folder: Path, tmp_path: Path) -> None:
    survey(folder, tmp_path / "out")
    before = files(tmp_path / "out")
    folder.rename(tmp_path / "away")
    with pytest.raises(ManifestError, match="no such file or folder"):
        survey(folder, tmp_path / "out", KEEP)
    folder.mkdir()  # a mount point without its share
    with pytest.raises(ManifestError, match="no item found"):
        survey(folder, tmp_path / "out", KEEP)
    assert files(tmp_path / "out") == before


def test_items_of_an_input_that_is_not_given_are_kept(folder: Path, tmp_path: Path) -> None:
    other = write_books(tmp_path / "other", 1)
    (other / "0.txt").rename(other / "other.txt")
    _, before = survey([folder, other], tmp_path / "out")
    _, rows = survey(folder, tmp_path / "out")
    assert rows == before
    assert "other.txt" in rows
    with pytest.raises(AbsenceError, match="8 of 9 known items are absent"):
        survey(other, tmp_path / "out")


def write_manifest_of(path: Path, *items: dict[str, str]) -> Path:
    path.write_text("\n".join(map(json.dumps, items)))
    return path


def test_a_row_that_is_removed_from_a_manifest_is_kept_until_prune(folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest_of(manifest, {"uri": "in/0.txt"}, {"uri": "in/1.txt"})
    survey(manifest, tmp_path / "out")
    write_manifest_of(manifest, {"uri": "in/0.txt"})
    assert sorted(survey(manifest, tmp_path / "out")[1]) == ["0.txt", "1.txt"]
    assert sorted(survey(manifest, tmp_path / "out", PRUNE)[1]) == ["0.txt"]


def test_a_listed_item_whose_file_is_missing_keeps_what_it_gave_and_takes_the_new_license(
    folder: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest_of(manifest, {"uri": "in/0.txt", "license": "MIT"}, {"uri": "in/1.txt"})
    _, before = survey(manifest, tmp_path / "out")
    (folder / "0.txt").unlink()
    write_manifest_of(manifest, {"uri": "in/0.txt", "license": "CC0-1.0"}, {"uri": "in/1.txt"})
    report, rows = survey(manifest, tmp_path / "out")
    assert rows["0.txt"] == before["0.txt"] | {"license": "CC0-1.0"}
    assert "(1 not found)" in report.line()
    assert report.rejected == {}
    assert survey(manifest, tmp_path / "out")[0].new == 0
    assert survey(manifest, tmp_path / "out", PRUNE)[0].rejected == {"missing": 1}


def test_an_item_whose_row_becomes_invalid_is_kept(folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest_of(manifest, {"uri": "in/0.txt", "license": "MIT"}, {"uri": "in/1.txt"})
    _, before = survey(manifest, tmp_path / "out")
    write_manifest_of(manifest, {"uri": "in/0.txt", "licence": "MIT"}, {"uri": "in/1.txt"})
    report, rows = survey(manifest, tmp_path / "out")
    assert rows == before
    assert "(1 listed by an invalid row)" in report.line()
    assert survey(manifest, tmp_path / "out", PRUNE)[0].rejected == {"invalid_row": 1}


def test_a_missing_item_that_was_never_read_is_rejected_and_read_when_it_is_there(folder: Path, tmp_path: Path) -> None:
    manifest = write_manifest_of(tmp_path / "m.jsonl", {"uri": "in/0.txt"}, {"uri": "in/new.txt"})
    assert survey(manifest, tmp_path / "out")[0].rejected == {"missing": 1}
    assert survey(manifest, tmp_path / "out")[0].new == 0
    shutil.copy(folder / "1.txt", folder / "new.txt")
    assert survey(manifest, tmp_path / "out")[0].rejected == {}


def test_a_rejected_item_that_is_deleted_is_forgotten(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.mp4").write_bytes(b"no video")
    survey(folder, tmp_path / "out")
    (folder / "broken.mp4").unlink()
    report, rows = survey(folder, tmp_path / "out")
    assert (report.items, report.notes) == (8, ())
    assert "broken.mp4" not in rows


def test_changed_content_under_the_same_name_replaces_the_row(folder: Path, tmp_path: Path) -> None:
    _, before = survey(folder, tmp_path / "out")
    (folder / "0.txt").write_text("Another text, which is long enough to be a book. " * 20)
    report, rows = survey(folder, tmp_path / "out")
    assert rows["0.txt"]["document_id"] != before["0.txt"]["document_id"]
    assert (report.new, report.notes) == (1, ())


def test_the_caption_of_an_absent_picture_does_not_become_a_book(tmp_path: Path) -> None:
    folder = write_books(tmp_path / "in", 2)
    Image.fromarray(numbered(7, (128, 96))).save(folder / "picture.png")
    (folder / "picture.txt").write_text("a numbered picture")
    _, before = survey(folder, tmp_path / "out")
    (folder / "picture.png").unlink()
    assert survey(folder, tmp_path / "out")[1] == before


def test_a_near_duplicate_of_an_absent_item_stays_rejected(tmp_path: Path) -> None:
    folder = write_books(tmp_path / "in", 1)
    text = (folder / "0.txt").read_text()
    (folder / "near.txt").write_text(text + "One more sentence.\n")

    def selected() -> list[tuple[str, str | None]]:
        workspace = Workspace.open(tmp_path / "out")
        dedup_items(workspace, DedupConfig(), Runner())
        select_items(workspace, SelectConfig(), Runner())
        rows = read_units(workspace.selection, SURVEY, ["uri", "reason"]).to_pylist()
        return sorted((Path(row["uri"]).name, row["reason"]) for row in rows)

    survey(folder, tmp_path / "out")
    before = selected()
    assert sorted(str(reason) for _, reason in before) == ["None", "near_duplicate"]
    kept = next(name for name, reason in before if reason is None)
    (folder / kept).unlink()
    survey(folder, tmp_path / "out")
    assert selected() == before


def test_the_cause_of_each_absence_is_in_the_workspace(folder: Path, tmp_path: Path) -> None:
    survey(folder, tmp_path / "out")
    (folder / "0.txt").unlink()
    survey(folder, tmp_path / "out")
    assert read_absent(Workspace.existing(tmp_path / "out")) == {str(folder / "0.txt"): UNLISTED}
    assert "absent" in pq.read_schema(tmp_path / "out" / "manifest.parquet").names


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_of_0_to_1_is_an_error(share: float) -> None:
    with pytest.raises(ConfigError, match="max_absent must be from 0 to 1"):
        AbsenceConfig(max_absent=share)


def failing(reason: Reason) -> Callable[[ManifestItem], str]:
    def check(item: ManifestItem) -> str:
        raise InputError(reason, item.uri)

    return check


ITEMS = as_large(manifest_table(ManifestItem(uri=f"https://host/{n:02d}.txt", kind="book") for n in range(20)))
NOTHING = pa.chunked_array([], pa.string())


@pytest.mark.parametrize(("absent", "refused"), [(1, False), (2, False), (3, True)])
def test_the_limit_is_a_share_of_the_known_items(absent: int, refused: bool) -> None:
    listed = ITEMS.slice(absent)
    if refused:
        with pytest.raises(AbsenceError, match="3 of 20"):
            with_absent(listed, ITEMS, str, AbsenceConfig(), before=NOTHING)
    else:
        assert with_absent(listed, ITEMS, str, AbsenceConfig(), before=NOTHING).causes == {UNLISTED: absent}


def test_prune_never_removes_an_unreachable_item() -> None:
    found = with_absent(ITEMS, ITEMS, failing(Reason.UNREACHABLE), PRUNE, before=NOTHING)
    assert found.causes == {"unreachable": 20}
    assert found.items.select(ITEMS.column_names) == ITEMS
    found = with_absent(ITEMS, ITEMS, failing(Reason.MISSING), PRUNE, before=NOTHING)
    assert not found.causes
    assert found.items.select(ITEMS.column_names) == ITEMS  # the survey rejects them


def test_a_server_that_fails_for_a_while_costs_nothing_and_one_that_recovers_is_read(tmp_path: Path) -> None:
    body = story(0, 4).encode()
    access = AccessConfig(allow_hosts=(ALLOWED,), fetch_attempts=1)
    with serving(
        {f"/{n}.txt": Answer(body=body + str(n).encode(), headers={"ETag": str(n)}) for n in range(4)}
    ) as server:
        server.answers["/3.txt"] = Answer(status=403)
        rows = [{"uri": f"{server.url}/{n}.txt"} for n in range(4)]
        manifest = write_manifest_of(tmp_path / "m.jsonl", *rows)
        report, before = survey(manifest, tmp_path / "out", access=access)
        assert report.rejected == {"unreachable": 1}
        there, server.answers["/0.txt"] = server.answers["/0.txt"], Answer(status=503)
        server.answers["/3.txt"] = Answer(body=body + b"3")
        report, after = survey(manifest, tmp_path / "out", access=access)
        assert (report.kept, report.rejected) == (4, {})
        assert after["0.txt"] == before["0.txt"]
        assert "absent and kept as they were: 1 of 3 known items (1 not readable now)" in report.line()
        assert survey(manifest, tmp_path / "out", PRUNE, access=access)[1] == after
        server.answers["/0.txt"] = there
        report, again = survey(manifest, tmp_path / "out", access=access)
        assert (report.new, report.notes, again) == (0, (), after)
        server.answers.update({f"/{n}.txt": Answer(status=429) for n in range(3)})
        with pytest.raises(AbsenceError, match=r"3 of 4 known items are absent \(3 not readable now\)"):
            survey(manifest, tmp_path / "out", access=access)


def test_a_body_that_is_cut_after_the_check_keeps_the_known_item(tmp_path: Path) -> None:
    access = AccessConfig(allow_hosts=(ALLOWED,), fetch_attempts=1)
    with serving({"/0.txt": Answer(body=story(0, 4).encode(), headers={"ETag": "1"})}) as server:
        _, before = survey(f"{server.url}/0.txt", tmp_path / "out", access=access)
        server.answers["/0.txt"] = Answer(body=story(1, 4).encode(), headers={"ETag": "2"}, cut=100)
        report, rows = survey(f"{server.url}/0.txt", tmp_path / "out", access=access)
        assert (report.rejected, rows) == ({}, before)
        server.answers["/0.txt"] = Answer(body=story(1, 4).encode(), headers={"ETag": "2"})
        assert survey(f"{server.url}/0.txt", tmp_path / "out", access=access)[1] != before


def test_the_command_ends_with_1_and_says_what_to_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["survey", str(folder), "--out", str(tmp_path / "out")]
    assert longreel.main(command) == 0
    move_away(folder, tmp_path / "away", "0.txt", "3.txt", "5.txt")
    assert longreel.main(command) == 1
    assert "longreel survey: 3 of 8 known items are absent" in capsys.readouterr().err
    assert longreel.main([*command, "--max-absent", "1"]) == 0
    assert longreel.main([*command, "--prune"]) == 0
    assert len(read_units(Workspace.existing(tmp_path / "out").survey, SURVEY)) == 5


def test_the_hosts_that_a_command_allows_are_those_of_later_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    with serving({"/0.txt": Answer(body=story(0, 4).encode())}) as server:
        uri = f"{server.url}/0.txt"
        assert longreel.main(["survey", uri, *out]) == 0
        assert "1 not_allowed" in capsys.readouterr().err
        assert longreel.main(["survey", uri, *out, "--allow-hosts", ALLOWED]) == 0
        assert "1 kept, 0 rejected" in capsys.readouterr().err
        assert longreel.main(["survey", uri, *out]) == 0
        assert "1 kept, 0 rejected (nothing to do)" in capsys.readouterr().err
