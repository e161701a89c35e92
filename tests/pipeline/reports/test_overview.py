"""The totals at the top of the report."""

from __future__ import annotations

from pipeline.reports.funnel import Items
from pipeline.reports.overview import overview
from pipeline.runtime.workspace import Workspace


def test_totals_licenses_and_the_time_of_the_last_job(mine: Workspace) -> None:
    found = overview(mine, Items.read(mine))
    totals = dict(found.totals)
    assert (totals["items"], totals["rejected"], totals["kept"], totals["words kept"]) == ("11", "8", "3", "9,980")
    assert dict(found.licenses) == {"CC0-1.0": 2, "MIT": 1, "not specified": 1}
    assert (found.changed, found.configuration) == ("", "")
    logs = mine.root.local() / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "log.jsonl").write_text('{"time": "2026-11-29T09:30:12.000Z"}\n')
    (mine.root.local() / "config.toml").write_text("[pack]\n")
    found = overview(mine, Items.read(mine))
    assert (found.changed, found.configuration) == ("2026-11-29 09:30", "[pack]\n")
    (logs / "log.jsonl").write_text("no JSON\n")
    assert overview(mine, Items.read(mine)).changed == ""
