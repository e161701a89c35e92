"""Which addresses the HTTP client connects to."""

from __future__ import annotations

import pytest

from pipeline.sources.access import AccessConfig
from pipeline.sources.http_client import AddressGuard, AddressNotAllowed


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.100.100.200", "192.0.0.192", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0"),
        *("fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"),
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(AddressNotAllowed, match="--allow-hosts"):
        AddressGuard(AccessConfig()).require(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_public_addresses_are_allowed(address: str) -> None:
    AddressGuard(AccessConfig()).require(address)


def test_allowed_addresses_and_networks() -> None:
    guard = AddressGuard(AccessConfig(allow_hosts=("10.0.0.0/8", "::1", "files.corp")))
    assert [guard.allows(a) for a in ("10.1.2.3", "::ffff:10.1.2.3", "::1", "192.168.0.1")] == [True, True, True, False]
    guard.approve("192.168.0.1")  # the address of files.corp
    assert guard.allows("192.168.0.1")
