# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Messages of ROS 1 as those of ROS 2: by their definition, which every ROS 1 bag has."""

from __future__ import annotations

from typing import Any

MAGIC = b'#ROSBAG V'
SEPARATOR = '/msg/'


def ros2_name(kind: str) -> str:
    """Return ``package/msg/Name`` for ``package/Name``, as ROS 2 calls the type."""
    return kind if SEPARATOR in kind else kind.replace('/', SEPARATOR)


class Converter:
    """
    Turns serialised messages of one type into CDR.

    :param kind: type as ROS 2 calls it
    :param definition: ROS 1 message definition with those of all that it is made of
    :raises ValueError: ROS 2 has a type of this name, or of a part of it, with other fields
    :raises Exception: rosbags cannot read the definition
    """

    def __init__(self, kind: str, definition: str) -> None:
        from rosbags.convert.converter import is_same_wireformat
        from rosbags.typesys import get_types_from_msg
        from rosbags.typesys import get_typestore
        from rosbags.typesys import Stores

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
        """Of the type and its parts, as ROS 2 writes it."""

    def to_cdr(self, data: bytes) -> bytes:
        """:raises Exception: the message does not fit its definition."""
        return bytes(self._store.ros1_to_cdr(data, self._kind))
