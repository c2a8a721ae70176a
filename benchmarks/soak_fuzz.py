# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Malformed images by the hundred thousand: through the nodes' callback in this process, and over DDS.

The messages are ``test/malformed.py``'s, the same for the same seed. Good images in between must be
answered, nothing may leave the callback, and memory must stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
import time
from typing import Any

import numpy as np
from process import memory_mb
from soak_camera import image_message, jpeg, malformed_message
from soak_faults import Start, started
from soak_rig import Rig

GOOD_EVERY = 500
"""One good image after so many malformed ones."""
ANSWER_S = 10.0
MOST_GROWN_MB = 64.0
"""Resident memory, from after the first tenth to the end."""
MOST_PEAK_MB = 1024.0
"""
Above what it was before: the largest picture that is read has 67 megapixels, and 200 MB once it is
unpacked; OpenCV holds it twice.
"""
WARM = 0.1
PER_IMAGE = 4
"""Malformed messages for a good one over DDS."""
BROKEN_SHARE = 0.2
"""Of the messages over DDS whose serialized bytes are changed, too: what no program here could
have sent."""


def run(messages: int, over_dds: int, seed: int) -> dict[str, Any]:
    """Fuzz; returns the figures, and ``passed``."""
    in_process = _in_process(messages, seed)
    print(f"in process: {in_process['fared']}", flush=True)
    wire = {
        transport: _over_dds(over_dds // 2, seed, transport)
        for transport in ('raw', 'compressed')} if over_dds else {}
    return {
        'seed': seed, 'in_process': in_process, 'over_dds': wire,
        'passed': all(part['passed'] for part in (in_process, *wire.values()))}


def _in_process(messages: int, seed: int) -> dict[str, Any]:
    """Call what the subscription calls, on a detector and a fatigue node of each transport."""
    import rclpy
    from sensor_msgs.msg import Image

    from aitable_ros.nodes.composition import Composition
    from aitable_ros.tools.clip import ScriptedClip, SIZES

    clip = ScriptedClip(30.0, 30.0, 0, SIZES['vga'])
    fared: Counter[str] = Counter()
    escaped: list[str] = []
    good = answered = 0
    begin = time.monotonic()
    memory: list[float] = []
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    try:
        with Composition(context) as nodes:
            detectors = {}
            for transport in ('raw', 'compressed'):
                arguments = ['--ros-args', '-r', f'__ns:=/{transport}', '-p',
                             f'image_transport:={transport}']
                detectors[transport] = nodes.load('FaceDetectorNode', cli_args=arguments).node
                nodes.load('FatigueNode', cli_args=arguments)
            stamp = 1_700_000_000_000_000_000
            _reset_peak()
            before = memory_mb('VmRSS')
            for number in range(messages):
                stamp += 1_000_000
                message = malformed_message(seed + number)
                _stamp(message, stamp)
                node = detectors['raw' if isinstance(message, Image) else 'compressed']
                try:
                    node.source._images._received(message)
                except BaseException as error:
                    escaped.append(f'{seed + number}: {error!r}')
                if number % GOOD_EVERY == GOOD_EVERY - 1:
                    for transport, node in detectors.items():
                        stamp += 33_000_000
                        good += 1
                        answered += _answered(node, clip.frame(good % len(clip)).image, stamp,
                                              transport)
                if number == int(messages * WARM) or number == messages - 1:
                    memory.append(memory_mb('VmRSS'))
            for transport, node in detectors.items():
                figures = node.images.statistics.snapshot(time.monotonic())
                fared.update(figures.malformed)
                fared[f'answered ({transport})'] = figures.answered
                fared['dropped while busy'] += node.work.dropped
                fared['failed'] += figures.failed
    finally:
        rclpy.try_shutdown(context=context)
    peak = memory_mb('VmHWM') - before
    grown = memory[-1] - memory[0]
    return {
        'messages': messages, 'seconds': round(time.monotonic() - begin, 1),
        'fared': dict(fared), 'escaped': escaped[:20], 'good': good, 'good_answered': answered,
        'rss_before_mb': round(before, 1), 'rss_grown_mb': round(grown, 1),
        'peak_above_mb': round(peak, 1),
        'passed': not escaped and answered == good and grown < MOST_GROWN_MB
        and peak < MOST_PEAK_MB and not fared['failed']}


def _answered(node: Any, picture: np.ndarray, stamp: int, transport: str) -> bool:
    """
    Give a good image; tell whether a face was found in it.

    A stamp of another time may have come right before: then it is held back, and the next counts.
    """
    from aitable_ros.nodes.channel import SharedFaces

    make = jpeg if transport == 'compressed' else _raw
    seen: list[SharedFaces] = []
    node._channel.listen(seen.append)
    try:
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            node.source._images._received(make(picture, 0, stamp)[0][0])
            tried = time.monotonic()
            while time.monotonic() - tried < 1.0:
                if any(one.frame.stamp_ns == stamp and one.faces for one in seen):
                    return True
                time.sleep(0.001)
        return False
    finally:
        node._channel.unlisten(seen.append)


def _raw(picture: np.ndarray, number: int, stamp: int) -> Sequence[tuple[Any, bool]]:
    return [(image_message(picture, 'rgb8', stamp), False)]


def _over_dds(messages: int, seed: int, transport: str) -> dict[str, Any]:
    """Send them between good images to a pipeline process."""
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import Image

    wanted = [
        one for one in map(malformed_message, range(seed, seed + 3 * messages))
        if isinstance(one, Image) == (transport == 'raw')][:messages]
    rng = np.random.default_rng(seed)
    sent = broken = 0
    with TemporaryDirectory(prefix='aitable_fuzz_') as folder, started(
            Start(transport=transport), Path(folder), (640, 480)) as rig:
        before = rig.camera.shape
        first, pid = rig.person(), rig.nodes.pid
        begin, rss = time.monotonic(), memory_mb('VmRSS', pid)

        def shape(picture: np.ndarray, number: int, stamp: int) -> Any:
            nonlocal sent, broken
            for message in wanted[sent:sent + PER_IMAGE]:
                sent += 1
                _stamp(message, rig.camera.stamp())
                if rng.random() < BROKEN_SHARE:
                    broken += 1
                    rig.camera.publish_bytes(_broken(serialize_message(message), rng))
                else:
                    rig.camera.publish(message, True)
                # One a few milliseconds: the subscription keeps only the newest.
                time.sleep(0.006)
            return before(picture, number, stamp)
        rig.camera.shape = shape
        rig.until(lambda: sent >= len(wanted), 30.0 + messages / 20)
        rig.camera.shape = before
        end = time.monotonic()
        alive = rig.nodes.process.poll() is None
        well = rig.until(rig.all_well, 20.0)
        rig.wait(1.0)
        outcome = _share(rig, begin, end)
        lines = rig.log()
        grown = memory_mb('VmRSS', pid) - rss if alive else float('nan')
        status = rig.stop()
    return {
        'messages': sent, 'with_broken_bytes': broken, 'seconds': round(end - begin, 1),
        'alive': alive, 'well_afterwards': well, 'good': outcome[0], 'good_answered': outcome[1],
        'same_person': rig.person().track_id == first.track_id,
        'rss_grown_mb': round(grown, 1), 'exit_status': status,
        'log': [line for line in lines if '[WARN]' in line or '[ERROR]' in line][-20:],
        'last_output': [] if alive else lines[-12:],
        'passed': alive and well and status == 0 and outcome[1] > 0
        and not any('Traceback' in line for line in lines)}


def _stamp(message: Any, stamp_ns: int) -> None:
    """Stamp a message as a camera would, unless its stamp is what is wrong with it."""
    from aitable_ros.nodes.messages import CODEC

    if (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 0):
        message.header.stamp = CODEC.time_message(stamp_ns)


def _share(rig: Rig, begin: float, end: float) -> tuple[int, int]:
    answered = {heard.stamp_ns for heard in rig.ears.fatigue}
    good = [sent.stamp_ns for sent in rig.camera.sent
            if begin <= sent.time_s <= end and not sent.concerned]
    return len(good), sum(stamp in answered for stamp in good)


def _broken(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a few of the first bytes, where lengths and strings are, or cut the end off."""
    broken = bytearray(data)
    for at in rng.integers(4, min(len(broken), 80), int(rng.integers(1, 5))):
        broken[at] = int(rng.integers(0, 256))
    if rng.random() < 0.3:
        broken = broken[:int(rng.integers(5, len(broken)))]
    return bytes(broken)


def _reset_peak() -> None:
    """Let VmHWM begin anew."""
    Path('/proc/self/clear_refs').write_text('5')
