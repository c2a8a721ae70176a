# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a recording shows, without ROS: python3 read_a_recording.py drive.mcap."""

import sys

from aitable_ros.pipeline import Pipeline
from aitable_ros.recordings.readers import open_source


def main(path):
    """Print each event, and the last level of each person."""
    levels = {}
    with Pipeline() as pipeline:
        for frame in open_source(path):
            result = pipeline.process_frame(frame)
            for event in result.events:
                print(f'{event.start_ns / 1e9:.2f} s: person {event.track_id}: {event.type.name}')
            for face in result.faces:
                if face.fatigue is not None:
                    levels[face.face.track_id] = face.fatigue.level.name
    for person, level in levels.items():
        print(f'person {person}: {level}')


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
