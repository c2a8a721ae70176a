# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Request checks: other web sites must not reach the page through an operator's browser."""

from __future__ import annotations

from ipaddress import ip_address
import socket
from urllib.parse import urlsplit

HEADERS = {
    'Content-Security-Policy':
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cache-Control': 'no-store',
}
"""No foreign or inline content, no embedding in other pages, no caching."""


class Guard:
    """
    Admits requests by the names of this server.

    A name that an attacker's DNS points here (rebinding) arrives in the Host header and is refused.
    Addresses are admitted.

    :param host: address or name that the user bound
    """

    def __init__(self, host: str) -> None:
        self._names = {'localhost', host.lower()}
        if not is_loopback(host):
            own = socket.gethostname().lower()
            self._names |= {own, f'{own.partition(".")[0]}.local', socket.getfqdn().lower()}

    def admits(self, host_header: str | None) -> bool:
        """Return whether a Host header names this server."""
        name = _name_in(host_header or '')
        return name in self._names or _is_address(name)

    def same_origin(self, origin: str | None, host_header: str | None) -> bool:
        """Return whether a WebSocket is requested by our own page, or by no page at all."""
        return origin is None or urlsplit(origin).netloc.lower() == (host_header or '').lower()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach what is bound there."""
    return host == 'localhost' or (_is_address(host) and ip_address(host).is_loopback)


def _name_in(host_header: str) -> str:
    try:
        return (urlsplit(f'//{host_header}').hostname or '').rstrip('.')
    except ValueError:
        return ''


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
