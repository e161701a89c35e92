from __future__ import annotations

import json
from pathlib import Path

from trainer.published.json_files import write_plain_json


def test_the_file_holds_the_values_and_nothing_else(tmp_path: Path) -> None:
    write_plain_json(tmp_path / "x.json", {"a": [1, None]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, None]}
