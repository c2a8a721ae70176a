# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The codec of our messages with the message classes of rclpy."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from aitable_ros.message_codec import MessageCodec


@cache
def message_class(kind: str) -> Any:
    """Return the class of a message type such as ``std_msgs/msg/Header``."""
    package, _, name = kind.split('/')
    return getattr(import_module(f'{package}.msg'), name)


def _make(kind: str, **fields: Any) -> Any:
    return message_class(kind)(**fields)


CODEC = MessageCodec(_make)
