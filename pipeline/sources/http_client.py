"""The HTTP client: connects to public addresses only, unless others are allowed.

Names are resolved once, and the resolved addresses are checked and connected to, so that a name cannot change its
address in between. Every connection is checked, of the URL itself and of each redirect, in whatever notation the
address is written (`http://2130706433/`, `http://[::ffff:127.0.0.1]/`).
"""

from __future__ import annotations

import asyncio
import functools
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from pipeline.sources.access import AccessConfig

_RESERVED = IPv4Network("192.0.0.0/24")  # which Python 3.11 takes for public; metadata of Oracle's cloud
_NAT64 = IPv6Network("64:ff9b::/96")  # its last 32 bits are an IPv4 address


class AddressNotAllowed(OSError):
    """A connection to an address that is not public was refused."""


async def open_session(access: AccessConfig, *, loop: Any = None) -> aiohttp.ClientSession:
    """Return a client session, as fsspec's `get_client`."""
    guard = AddressGuard(access)
    connector = aiohttp.TCPConnector(
        resolver=_CheckedResolver(guard, access), socket_factory=functools.partial(_checked_socket, guard), loop=loop
    )
    timeout = aiohttp.ClientTimeout(
        total=None,
        connect=access.fetch_timeout_s,
        sock_connect=access.fetch_timeout_s,
        sock_read=access.fetch_timeout_s,
    )
    answered_in_time = functools.partial(_answered_in_time, access.fetch_timeout_s)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, middlewares=(answered_in_time,), loop=loop)


async def _answered_in_time(
    seconds: float, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Limit the time until the headers of a response are complete: each received byte renews aiohttp's own limits."""
    try:
        async with asyncio.timeout(seconds):
            return await handler(request)
    except aiohttp.ClientError:  # of connecting, which is a TimeoutError as well
        raise
    except TimeoutError as e:
        raise aiohttp.ServerTimeoutError(f"the headers of the response are not complete after {seconds:g} s") from e


class AddressGuard:
    """Decides which addresses may be connected to."""

    def __init__(self, access: AccessConfig) -> None:
        self._networks = access.networks
        self._approved: set[str] = set()  # addresses of host names that are allowed

    def approve(self, address: str) -> None:
        """Allow an address, which an allowed name has."""
        self._approved.add(address)

    def allows(self, address: str) -> bool:
        """Whether a numeric address is public or allowed."""
        if address in self._approved:
            return True
        ip = ip_address(address.partition("%")[0])  # without the zone of a link-local address
        meant = _embedded(ip)
        return any(each in network for each in {ip, meant} for network in self._networks) or (
            meant.is_global and not meant.is_multicast and meant not in _RESERVED
        )

    def require(self, address: str, host: str = "") -> None:
        """Raise AddressNotAllowed for an address that is not allowed."""
        if not self.allows(address):
            name = host or address
            raise AddressNotAllowed(
                f"{name} is not a public address{f' ({address})' if host else ''}; --allow-hosts {name} allows it"
            )


def _embedded(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


class _CheckedResolver(AbstractResolver):
    """Resolves names to the addresses that are allowed."""

    def __init__(self, guard: AddressGuard, access: AccessConfig) -> None:
        self._guard, self._names = guard, access.names
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if host.lower().rstrip(".") in self._names:
            for result in found:
                self._guard.approve(result["host"])
        allowed = [result for result in found if self._guard.allows(result["host"])]
        if found and not allowed:
            self._guard.require(found[0]["host"], host)
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


def _checked_socket(guard: AddressGuard, info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, address = info
    guard.require(str(address[0]))
    return socket.socket(family, kind, protocol)
