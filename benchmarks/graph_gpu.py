# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The whole graph with TensorRT engines: a camera node and the pipeline's nodes, in one process.

``python benchmarks/graph_gpu.py CLIP --labels LABELS --reference DIR`` plays a video in its own
time on ``image`` and counts what comes back on ``fatigue`` and ``fatigue/events``. DIR is what
``aitable evaluate`` wrote for the same clip on the CPU: its blinks are the ones that must come.
Exit status 1 where they do not, or where a stage did not run on ``--backend``.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
import csv
import json
from pathlib import Path
import sys
from threading import Event, Thread
import time
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
TOPICS = ('faces', 'fatigue', 'fatigue/events', 'emotion')
LEAST_ANSWERED = 0.99
AFTER_S = 1.5  # an event is told when the eyes are open again


def play(args: argparse.Namespace) -> dict[str, Any]:
    """Run the clip through the graph."""
    from aitable_ros.tools.demo import prepare_ros

    prepare_ros()
    import rclpy

    from aitable_msgs.msg import Emotion, FaceArray, FatigueEvent, FatigueState
    from aitable_ros.nodes.composition import compose
    from aitable_ros.nodes.executables import PIPELINE

    rclpy.init()
    heard: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    arguments = ['--ros-args', '-r', 'image:=/camera/image_raw']
    if args.params_file:
        arguments += ['--params-file', str(args.params_file)]
    begin = time.monotonic()
    with compose(PIPELINE, cli_args=arguments) as nodes:
        loaded_s = time.monotonic() - begin
        camera = rclpy.create_node('camera')
        for topic, kind in zip(TOPICS, (FaceArray, FatigueState, FatigueEvent, Emotion)):
            camera.create_subscription(
                kind, topic,
                lambda message, topic=topic: heard[topic].append((time.time_ns(), message)), 100)
        nodes.host(camera)
        stamps = publish(camera, args)
        time.sleep(AFTER_S)
        models = {name: sorted({(one.model, one.backend, one.precision)
                                for _, one in heard[name]})
                  for name in ('faces', 'fatigue', 'emotion')}
    rclpy.try_shutdown()
    return told(args, heard, stamps, models, loaded_s)


def publish(camera: Any, args: argparse.Namespace) -> list[int]:
    """Publish each frame at its time; return their stamps, wall clock."""
    from sensor_msgs.msg import Image

    from aitable_ros.nodes import qos
    from aitable_ros.nodes.messages import CODEC
    from aitable_ros.recordings.video import Video

    publisher = camera.create_publisher(Image, '/camera/image_raw', qos.IMAGE)
    wait = Event()
    while not publisher.get_subscription_count() and not wait.wait(0.05):
        pass
    stamps: list[int] = []
    begin = time.time_ns() + 200_000_000
    done = Event()

    def run() -> None:
        for frame in Video(args.clip):
            if args.frames and len(stamps) >= args.frames:
                break
            stamp = begin + frame.stamp_ns
            message = Image(
                height=frame.height, width=frame.width, encoding='rgb8', step=3 * frame.width)
            message.header.stamp = CODEC.time_message(stamp)
            message.header.frame_id = 'camera'
            message.data.frombytes(np.ascontiguousarray(frame.image).tobytes())
            time.sleep(max(0.0, (stamp - time.time_ns()) / 1e9))
            publisher.publish(message)
            stamps.append(stamp)
        done.set()

    Thread(target=run, name='camera', daemon=True).start()
    done.wait()
    return stamps


def told(
    args: argparse.Namespace, heard: dict[str, list[tuple[int, Any]]], stamps: list[int],
    models: dict[str, Any], loaded_s: float,
) -> dict[str, Any]:
    """Return the figures."""
    from aitable_ros.clock import stamp_ns
    from aitable_ros.evaluation.datasets.own import read_labels
    from aitable_ros.evaluation.labels import FrameSpan
    from aitable_ros.evaluation.metrics import match_spans
    from aitable_ros.nodes.messages import CODEC
    from aitable_ros.types import FatigueEventType

    frames = {stamp: index for index, stamp in enumerate(stamps)}
    answers = [(at, stamp_ns(one.header.stamp)) for at, one in heard['fatigue']
               if stamp_ns(one.header.stamp) in frames]
    latency = [(at - stamp) / 1e6 for at, stamp in answers]
    events = [CODEC.event_of(event) for _, event in heard['fatigue/events']]
    ends = [(event.start_ns, event.start_ns + round(event.duration_s * 1e9))
            for event in events if event.type is FatigueEventType.BLINK]
    blinks = [FrameSpan(*np.searchsorted(stamps, pair).tolist()) for pair in ends]
    result: dict[str, Any] = {
        'clip': args.clip.name, 'frames': len(stamps), 'load_s': round(loaded_s, 2),
        'answered': len({stamp for _, stamp in answers}), 'models': models,
        'latency_ms': {f'p{q}': round(float(np.percentile(latency, q)), 2)
                       for q in (50, 95, 99)} if latency else {},
        'events': dict(Counter(event.type.name for event in events)),
        'blinks': [[span.start, span.end] for span in blinks]}
    passed = result['answered'] >= LEAST_ANSWERED * len(stamps)
    if args.backend:
        ran = [backend for stage in ('faces', 'fatigue') for _, backend, _ in models[stage]]
        result['backends_ok'] = bool(ran) and set(ran) <= {args.backend, ''}
        passed = passed and result['backends_ok']
    wanted = {}
    if args.labels:
        labels = read_labels(args.labels)
        wanted['labels'] = (labels.blinks or (), labels.ignore)
    if args.reference:
        wanted['reference'] = (reference(args.reference), ())
    for name, (spans, ignore) in wanted.items():
        matching = match_spans(blinks, [one for one in spans if one.end < len(stamps)], ignore)
        result[name] = {
            'matched': len(matching.pairs), 'missed': [[s.start, s.end] for s in matching.missed],
            'invented': [[s.start, s.end] for s in matching.invented]}
        if name == 'reference':
            passed = passed and not matching.missed and not matching.invented
    return {**result, 'passed': passed}


def reference(folder: Path) -> list[Any]:
    """Return the primary person's blinks that ``aitable evaluate`` wrote."""
    from aitable_ros.evaluation.labels import FrameSpan

    with (folder / 'events.csv').open() as file:
        return [FrameSpan(int(row['start_frame']), int(row['end_frame']))
                for row in csv.DictReader(file) if row['type'] == 'BLINK']


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('clip', type=Path)
    parser.add_argument('--labels', type=Path)
    parser.add_argument('--reference', type=Path, metavar='DIR')
    parser.add_argument('--params-file', type=Path, metavar='FILE')
    parser.add_argument('--backend', default='tensorrt', help='that faces and fatigue must run on')
    parser.add_argument('--frames', type=int, default=0, help='play only so many')
    parser.add_argument('--output', type=Path,
                        default=ROOT / 'benchmarks' / 'results' / 'graph_gpu.json')
    args = parser.parse_args()
    if args.reference and not (args.reference / 'events.csv').is_file():
        parser.error(f'{args.reference}: no events.csv of `aitable evaluate` in it')
    result = play(args)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + '\n')
    print(json.dumps(result))
    return 0 if result['passed'] else 1


if __name__ == '__main__':
    sys.exit(main())
