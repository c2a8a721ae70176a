# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Round after round of all four transitions, of loading and unloading nodes, and of opening and
closing models, in this process.

Every tenth round of transitions answers an image. Threads, descriptors, models and memory must be
at the end what they were once the first third had filled pools and caches.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import gc
import os
import time
from typing import Any

from process import Holding, holding
from soak_camera import image_message

WARM = 0.3
"""Share of the rounds that is left out of the comparison."""
MOST_GROWTH = 0.04
"""Of resident memory, over the rest of the rounds."""
ANSWER_S = 30.0
IMAGE_EVERY = 10
ARGUMENTS = ['--ros-args', '-p', 'backend:=onnxruntime']
"""ONNX Runtime loads the three models in 0.1 s; OpenVINO compiles them for seconds each round."""


def run(rounds: int, loads: int, opens: int) -> dict[str, Any]:
    """
    Go through the rounds.

    :param rounds: of configure, activate, deactivate, cleanup
    :param loads: of loading and unloading all three nodes
    :param opens: of opening, running and closing a model, with each CPU backend
    :return: the figures, and ``passed``
    """
    import rclpy

    figures: dict[str, Any] = {}
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    try:
        for name, count, make in (
                ('transitions', rounds, _transitions), ('loads', loads, _loads),
                ('opens', opens, _opens)):
            if count:
                figures[name] = compare(make(context, count))
    finally:
        rclpy.try_shutdown(context=context)
    return figures | {'passed': all(part['passed'] for part in figures.values())}


def compare(held: list[Holding]) -> dict[str, Any]:
    """Compare what was held after the warm-up with the end; one reading a round."""
    warm, last = held[int(WARM * len(held))], held[-1]
    growth = last.rss_mb / warm.rss_mb - 1
    return {
        'rounds': len(held), 'rss_mb': (round(warm.rss_mb, 1), round(last.rss_mb, 1)),
        'rss_growth': round(growth, 5), 'threads': (warm.threads, last.threads),
        'descriptors': (warm.descriptors, last.descriptors),
        'passed': growth < MOST_GROWTH and last.threads <= warm.threads
        and last.descriptors <= warm.descriptors}


def _held() -> Holding:
    """Return what this process holds; what is free counts for nothing."""
    gc.collect()
    getattr(ctypes.CDLL(None), 'malloc_trim', lambda _: None)(0)
    return holding(os.getpid())


def _transitions(context: Any, rounds: int) -> list[Holding]:
    from aitable_ros.inference.shared_models import SHARED
    from aitable_ros.nodes.composition import Composition
    from aitable_ros.nodes.executables import PIPELINE

    held = []
    with Composition(context) as nodes:
        loaded = nodes.load_all(PIPELINE, cli_args=[*ARGUMENTS, '-p', 'autostart:=false'])
        operator = _Operator(context, [component.node.get_name() for component in loaded])
        try:
            for number in range(rounds):
                operator.change('CONFIGURE')
                operator.change('ACTIVATE')
                if number % IMAGE_EVERY == 0:
                    operator.see()
                operator.change('DEACTIVATE')
                operator.change('CLEANUP')
                if SHARED.keys:
                    raise RuntimeError(f'round {number}: a model was not given back')
                held.append(_held())
        finally:
            operator.close()
    return held


def _loads(context: Any, rounds: int) -> list[Holding]:
    from aitable_ros.nodes.composition import Composition
    from aitable_ros.nodes.executables import PIPELINE

    held = []
    for _ in range(rounds):
        with Composition(context) as nodes:
            nodes.load_all(PIPELINE, cli_args=ARGUMENTS)
        held.append(_held())
    return held


def _opens(context: Any, rounds: int) -> list[Holding]:
    from aitable_ros.inference.onnxruntime import OnnxRuntimeBackend
    from aitable_ros.inference.openvino import OpenVINOBackend
    from aitable_ros.models.catalogue import onnx_path

    held = []
    for _ in range(rounds):
        for kind in (OnnxRuntimeBackend, OpenVINOBackend):
            with kind(onnx_path('fer')) as backend:
                backend.warm_up()
        held.append(_held())
    return held


class _Operator:
    """A node that asks others to change state, and shows them an image."""

    def __init__(self, context: Any, names: list[str]) -> None:
        from lifecycle_msgs.srv import ChangeState
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import Image

        from aitable_msgs.msg import FatigueState
        from aitable_ros.nodes import qos
        from aitable_ros.tools.clip import ScriptedClip, SIZES

        self._clip = ScriptedClip(30.0, 30.0, 0, SIZES['vga'])
        self._node = rclpy.create_node('operator', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._clients = [
            self._node.create_client(ChangeState, f'/{name}/change_state') for name in names]
        self._camera = self._node.create_publisher(Image, 'image', qos.IMAGE)
        self._stamps: list[Any] = []
        self._node.create_subscription(
            FatigueState, 'fatigue', lambda one: self._stamps.append(one.header.stamp), 10)
        self._stamp_ns = 1_700_000_000_000_000_000
        for client in self._clients:
            if not client.wait_for_service(ANSWER_S):
                raise RuntimeError(f'{client.srv_name}: nobody answers')

    def change(self, transition: str) -> None:
        """Ask all nodes for a transition; :raises RuntimeError: one does not make it."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        number = getattr(Transition, f'TRANSITION_{transition}')
        for client in self._clients:
            future = client.call_async(ChangeState.Request(transition=Transition(id=number)))
            self._until(future.done, f'{client.srv_name}: {transition} does not end')
            if not future.result().success:
                raise RuntimeError(f'{client.srv_name}: {transition} was refused')

    def see(self) -> None:
        """Publish images until one is answered; best effort may lose some."""
        from aitable_ros.nodes.messages import CODEC

        self._stamp_ns += 33_000_000
        stamp = CODEC.time_message(self._stamp_ns)
        picture = self._clip.frame(0).image
        shown = [0.0]

        def answered() -> bool:
            if time.monotonic() - shown[0] > 0.5:
                shown[0] = time.monotonic()
                self._camera.publish(image_message(picture, 'rgb8', self._stamp_ns))
            return stamp in self._stamps
        self._until(answered, 'an image was not answered')

    def _until(self, done: Callable[[], bool], problem: str) -> None:
        end = time.monotonic() + ANSWER_S
        while not done():
            if time.monotonic() > end:
                raise RuntimeError(problem)
            self._executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
