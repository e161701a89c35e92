from __future__ import annotations

import subprocess
import sys

from schemas.storage.buckets import BUCKETS


def test_the_schemes_are_those_of_s3_and_google_cloud_storage() -> None:
    assert sorted(BUCKETS) == ["gs", "s3"]


def test_no_client_is_imported_before_a_bucket_is_opened() -> None:
    code = (
        "import sys, schemas.tables; from schemas.storage.location import Location; Location.parse('s3://bucket/x');"
        "print([name for name in ('obstore', 'boto3', 'google.cloud.storage', 'requests') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
