# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Opens recordings of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from aitable_ros.errors import InputError
from aitable_ros.recordings.bag import Bag, camera_topics
from aitable_ros.recordings.image_folder import ImageFolder, is_picture
from aitable_ros.recordings.recorded_topics import namespaces
from aitable_ros.recordings.recording import is_bag, Recording
from aitable_ros.recordings.source import Source
from aitable_ros.recordings.video import Video

__all__ = ['Source', 'choose_topics', 'open_source']


def choose_topics(
    path: Path, wanted: Sequence[str], *, from_topics: bool = False,
) -> list[str | None]:
    """
    Return the topics that match the patterns; None if the input has to choose its own.

    :param wanted: camera topics of a bag, or shell patterns of them
    :param from_topics: the patterns are of namespaces of our recorded topics
    """
    if not wanted or (len(wanted) == 1 and not any(mark in wanted[0] for mark in '*?[')):
        return list(wanted) or [None]
    try:
        if not path.exists() or not is_bag(path):
            return [wanted[0]]
        recording = Recording(path)
    except InputError:
        return [wanted[0]]  # reported when the recording is opened
    there = list(namespaces(recording.topics)) if from_topics else [
        name for name, count in camera_topics(recording).items() if count != 0]
    chosen: list[str | None] = []
    for pattern in wanted:
        found = [name for name in there
                 if fnmatchcase(name, pattern) or fnmatchcase(name, f'/{pattern}')]
        chosen += [name for name in found or [pattern] if name not in chosen]
    return chosen


def open_source(
    path: str | Path, topic: str | None = None, *, fps: float | None = None, strict: bool = False,
) -> Source:
    """
    Open a recording of ROS messages, a video or GIF, or a folder of pictures.

    :param topic: the camera topic of a bag; not needed if the bag has one
    :param fps: frame rate of a video, instead of its stamps
    :param strict: stop at the first damage; else damaged parts are left out and counted
    :raises InputError: absent, unreadable or empty, no such topic, or an option for another kind
        of input
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f'{path}: no such file or folder')
    bag = is_bag(path)
    if topic and not bag:
        raise InputError(f'{path}: not a rosbag2, so it has no topic {topic}; leave --topic out')
    if not bag and not path.is_dir() and not is_picture(path):
        return Video(path, fps)
    if fps is not None:
        raise InputError(f'{path}: not a video, so it takes no frame rate; leave --fps out')
    return Bag(path, topic, strict=strict) if bag else ImageFolder(path, strict=strict)
