# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A ROS domain for each process that runs tests, so that no two of them hear each other."""

from __future__ import annotations

import os
import socket

DOMAINS = 101
"""1 to 101: their ports lie below Linux's ephemeral range (32768), and 0 is everybody's default."""
STRIDE = 37
"""From one process's domain to the next one's; far, because people number domains in a row."""
_claims: list[socket.socket] = []


def claim_domain(base: int) -> int:
    """
    Return a domain that no other test process of this machine has, until this process ends.

    An abstract socket is the lock: Linux frees the name with the process, however the process ends.

    :param base: the domain to take if it is free; from 1 to 101
    :raises RuntimeError: all are taken
    """
    for step in range(DOMAINS):
        domain = 1 + (base - 1 + STRIDE * step) % DOMAINS
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f'\0aitable_ros test domain {domain}')
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return domain
    raise RuntimeError(f'test processes have all {DOMAINS} ROS domains of this machine')


def base_domain() -> int:
    """Return the domain that the user, or the process that started this one, asks for."""
    return int(os.environ.get('ROS_DOMAIN_ID') or 1 + os.getpid() % DOMAINS)
