# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Writing a rosbag2 with our own messages in it, without rosbag2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import shutil
from types import TracebackType
from typing import Any

from aitable_ros.errors import InputError
from aitable_ros.recordings.bag_messages import BagMessages


class BagWriter:
    """
    A rosbag2 in mcap, written from serialised messages; a context manager.

    :param folder: of the bag; an earlier bag there is replaced
    :raises InputError: there is something else
    """

    def __init__(self, folder: Path) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer

        if folder.exists():
            if not (folder / 'metadata.yaml').is_file():
                raise InputError(f'{folder}: exists and is no recording; choose another --output')
            shutil.rmtree(folder)
        self._types = BagMessages().store
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)

    def __enter__(self) -> BagWriter:
        """Open the bag."""
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the bag: without its index it could not be read."""
        self._writer.close()

    def topic(self, name: str, kind: Any) -> Callable[[int, bytes], None]:
        """Add a topic of a message class; return its writer: (time in ns, serialised message)."""
        package = kind.__module__.split('.')[0]
        connection = self._writer.add_connection(
            name, f'{package}/msg/{kind.__name__}', typestore=self._types)

        def write(time_ns: int, raw: bytes) -> None:
            self._writer.write(connection, time_ns, raw)
        return write
