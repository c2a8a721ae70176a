# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Conversion of ROS 1 messages to ROS 2, by the definitions in the bag."""

from __future__ import annotations

from typing import Any

MAGIC = b'#ROSBAG V'
SEPARATOR = '/msg/'


def ros2_name(kind: str) -> str:
    """Return the name of a type in ROS 2: ``package/msg/Name`` for ``package/Name``."""
    return kind if SEPARATOR in kind else kind.replace('/', SEPARATOR)


class Converter:
    """
    Converts serialised messages of one type to CDR.

    :param kind: name of the type in ROS 2
    :param definition: ROS 1 definition of the type and of all types in it
    :raises ValueError: ROS 2 has a type of the same name with other fields
    :raises Exception: rosbags cannot read the definition
    """

    def __init__(self, kind: str, definition: str) -> None:
        from rosbags.convert.converter import is_same_wireformat
        from rosbags.typesys import get_types_from_msg, get_typestore, Stores

        self._kind = kind
        types = get_types_from_msg(definition, kind)
        theirs, ours = get_typestore(Stores.EMPTY), get_typestore(Stores.ROS2_HUMBLE)
        theirs.register(types)
        unknown = {name: fields for name, fields in types.items() if name not in ours.fielddefs}
        ours.register(unknown)
        if not all(is_same_wireformat(theirs, ours, name, name) for name in types):
            raise ValueError(f'{kind} has other fields in ROS 2')
        self._store: Any = ours
        self.definition = ours.generate_msgdef(kind, ros_version=2)[0]
        """ROS 2 definition of the type and of all types in it."""

    def to_cdr(self, data: bytes) -> bytes:
        """:raises Exception: the message does not fit its definition."""
        return bytes(self._store.ros1_to_cdr(data, self._kind))
