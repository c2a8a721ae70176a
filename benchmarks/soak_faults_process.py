# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Faults of the process and of what is around it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np
from soak_camera import NAMESPACE, plain
from soak_faults import fault, Start
from soak_faults_camera import ONE_IN, shaped
from soak_rig import Rig


@fault('the pipeline process is killed and started again after 1 s', keeps=False, back_s=2.0,
       lines=40)
def pipeline_killed(rig: Rig) -> None:
    """As systemd does with Restart=always; the fault ends with the first answer of the new one."""
    with rig.fault():
        rig.nodes.process.kill()
        rig.nodes.process.wait()
        rig.wait(1.0)
        killed = time.monotonic()
        rig.start()
        rig.until(rig.answering, 60.0, 'answers of the new process')
        rig.extra['start_s'] = round(time.monotonic() - killed, 2)


@fault('the pipeline process is stopped (SIGSTOP) for 5 s', lines=2)
def process_stopped(rig: Rig) -> None:
    """A machine that swaps, or a debugger."""
    with rig.fault():
        os.kill(rig.nodes.pid, signal.SIGSTOP)
        try:
            rig.wait(5.0)
        finally:
            os.kill(rig.nodes.pid, signal.SIGCONT)


@fault('no room for logs: their file system is full and standard error is /dev/full',
       start=Start(full_disk=True), lines=0, level=1)
def disk_full(rig: Rig) -> None:
    """It has been so from the start; now the nodes have much to say."""
    def shape(picture: np.ndarray, number: int, stamp: int) -> Any:
        return [(plain(picture, number, 0 if number % ONE_IN == 0 else stamp)[0][0],
                 number % ONE_IN == 0)]
    shaped(rig, shape, 4.0)
    for _ in range(20):
        rig.reload('nothing.onnx')


@fault('a second pipeline of the same names runs for 10 s', lines=12, level=1)
def two_of_one_name(rig: Rig) -> None:
    """Told once, with the remedy; both go on."""
    with rig.fault(concerns=False):
        twin = rig.pipeline('twin')
        rig.until(lambda: rig.levels().get('fatigue') == 1, 40.0, 'WARN in /diagnostics')
        rig.wait(3.0)
        rig.extra['twin_exit_status'] = twin.end()


@fault('/clock and the camera stand still for 5 s; then the clock alone for 3 s', lines=0,
       start=Start(sim_time=True))
def clock_paused(rig: Rig) -> None:
    """A paused simulation is no camera that has stopped: nothing is stale, nobody forgotten."""
    clock = rig.extra.pop('clock')
    with rig.fault(concerns=False):
        clock.paused = rig.camera.paused = True
        rig.wait(5.0)
        worst = max(rig.levels().values())
        assert worst == 0, f'level {worst} while the simulation is paused'
        rig.camera.offset_ns -= 5_000_000_000
        clock.paused = rig.camera.paused = False
        rig.wait(2.0)
        clock.paused = True
        rig.wait(3.0)
        worst = max(rig.levels().values())
        assert worst == 0, f'level {worst} while the clock stands'
    clock.paused = False


@fault('three subscribers whose quality of service does not fit come for 5 s and go',
       lines=8, level=1)
def peer_does_not_fit(rig: Rig) -> None:
    """Told once with the remedy, and over when they are gone."""
    import rclpy
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from rclpy.signals import SignalHandlerOptions

    from aitable_msgs.msg import Emotion, FaceArray, FatigueState

    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    peer = rclpy.create_node('soak_peer', context=context, enable_rosout=False)
    try:
        with rig.fault(concerns=False):
            lasting = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            for kind, topic in ((FaceArray, 'faces'), (Emotion, 'emotion'),
                                (FatigueState, 'fatigue')):
                peer.create_subscription(kind, f'{NAMESPACE}/{topic}', _ignore, lasting)
            rig.wait(5.0)
            peer.destroy_node()
    finally:
        context.try_shutdown()


def _ignore(message: Any) -> None:
    pass


@fault('100 set_parameters a second for 6 s, one in ten refused', lines=0)
def parameter_storm(rig: Rig) -> None:
    """Thresholds of two nodes, each request of two values."""
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import SetParametersAtomically

    def value(number: float) -> ParameterValue:
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=number)
    clients = [
        rig.node.create_client(
            SetParametersAtomically, f'{NAMESPACE}/{node}/set_parameters_atomically')
        for node in ('fatigue', 'face_detector')]
    for client in clients:
        rig.until(client.service_is_ready, 5.0, 'the parameter services')
    futures = []
    with rig.fault(concerns=False):
        begin = time.monotonic()
        for number in range(600):
            mild = 5.0 if number % 10 == 0 else 0.08 + 0.01 * (number % 3)
            names = (('perclos_mild', mild), ('perclos_severe', 0.15)) if number % 2 == 0 else (
                ('confidence', 0.5 + 0.01 * (number % 3)), ('tracker_iou', 0.3))
            futures.append(clients[number % 2].call_async(SetParametersAtomically.Request(
                parameters=[Parameter(name=name, value=value(one)) for name, one in names])))
            rig.wait(max(0.0, begin + number / 100 - time.monotonic()))
        rig.until(lambda: all(future.done() for future in futures), 20.0, 'the last answers')
    results = [future.result().result.successful for future in futures]
    rig.extra |= {'requests': len(results), 'refused': results.count(False)}
    for client in clients:
        rig.node.destroy_client(client)
    done = rig.extra['refused']
    assert done == 60, f'{done} of 600 refused; 60 are out of range'
    # Back to what it was.
    client = rig.node.create_client(
        SetParametersAtomically, f'{NAMESPACE}/fatigue/set_parameters_atomically')
    rig.until(client.service_is_ready, 5.0, 'the parameter services')
    future = client.call_async(SetParametersAtomically.Request(
        parameters=[Parameter(name='perclos_mild', value=value(0.08))]))
    rig.until(future.done, 5.0, 'the parameter')
    rig.node.destroy_client(client)
