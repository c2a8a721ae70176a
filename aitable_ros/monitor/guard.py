# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Who may ask: what keeps other sites, through an operator's browser, away from the page."""

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
"""Nothing from elsewhere, nothing inline, in nobody's frame, kept nowhere."""


class Guard:
    """
    Knows by which names this server may be called.

    A name that an attacker's DNS points here (rebinding) is in the Host header, and is none of
    ours; an address is never the attacker's.

    :param host: what the user bound
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
        """Return whether a WebSocket is asked for by our own page, or by no page at all."""
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
