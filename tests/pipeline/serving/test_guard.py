"""Every reply protects the page, and every request is counted."""

from __future__ import annotations

import httpx

from tests.support.serving import RunningServer


def test_the_page_loads_nothing_from_elsewhere_and_is_shown_in_no_other_page(server: RunningServer) -> None:
    for path in ("/", "/chat.js", "/nothing", "/v1/models"):
        policy = httpx.get(f"{server.address}{path}").headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy


def test_requests_are_counted_by_path_and_status_and_unknown_paths_together(server: RunningServer) -> None:
    for path in ("/a", "/b", "/v1/models"):
        httpx.get(f"{server.address}{path}")
    found = httpx.get(f"{server.address}/metrics").text
    assert 'longreel_requests_total{path="other",status="404"}' in found
    assert 'longreel_requests_total{path="/v1/models",status="200"}' in found
    assert '"/a"' not in found
