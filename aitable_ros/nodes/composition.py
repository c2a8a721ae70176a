# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Several nodes in one process, each on an executor and thread of its own.

One single-threaded executor a component: a model that loads in one of them holds up no other, and a
component can be unloaded while images flow. (With one MultiThreadedExecutor for all, unloading
crashed after some 36 cycles, and images came at irregular times.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from threading import Thread
from typing import Any

from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.task import Future

from aitable_ros.closing import Closing
from aitable_ros.errors import InputError

try:
    from aitable_ros.nodes.executor import ImageExecutor
except ImportError:  # an older rclpy, whose own executor does the same, slower
    from rclpy.executors import SingleThreadedExecutor as ImageExecutor  # type: ignore[no-redef]

COMPONENTS = {
    'CameraNode': 'aitable_ros.nodes.camera',
    'FaceDetectorNode': 'aitable_ros.nodes.face_detector',
    'EmotionNode': 'aitable_ros.nodes.emotion',
    'FatigueNode': 'aitable_ros.nodes.fatigue',
    'PostureNode': 'aitable_ros.nodes.posture',
    'OverlayNode': 'aitable_ros.nodes.overlay',
    'HriNode': 'aitable_ros.nodes.hri',
}
"""Class -> module. Also in setup.py as entry points of the group ``rclpy_components``."""
ENTRY_POINT_GROUP = 'rclpy_components'


def component_class(plugin: str) -> Callable[..., Node]:
    """
    Find a component: ``FatigueNode``, ``aitable_ros::FatigueNode``, or any package's entry point.

    :raises InputError: there is none of that name
    """
    from importlib.metadata import entry_points

    name = plugin.removeprefix('aitable_ros::')
    if name in COMPONENTS:
        found: Callable[..., Node] = getattr(import_module(COMPONENTS[name]), name)
        return found
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == plugin:
            try:
                loaded: Callable[..., Node] = entry.load()
            except Exception as error:
                raise InputError(f'{plugin}: cannot import it: {error}') from error
            return loaded
    raise InputError(f"no component '{plugin}'; here are {', '.join(COMPONENTS)}")


class Spinner:
    """A node on an executor and a thread of its own."""

    def __init__(self, node: Node, context: Any = None) -> None:
        self.node = node
        self._executor = ImageExecutor(context=context)
        self._executor.add_node(node)
        self._ended: Any = Future()
        self._thread = Thread(
            target=self._spin, name=f'{node.get_name()}_executor', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """
        End the thread, then the node.

        Not by a shutdown of the executor: called while the thread is on its way into a wait, that
        destroys what would wake it, and the thread never comes back. The end is a task of the
        thread itself: Humble's rclpy looks whether it has come only after it has run something.
        """
        self._executor.create_task(self._ended.set_result, None)
        self._thread.join()
        self._executor.remove_node(self.node)
        self._executor.shutdown()
        self.node.destroy_node()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin_until_future_complete(self._ended)


@dataclass(frozen=True, eq=False)
class Component:
    """A node at work."""

    unique_id: int
    plugin: str
    spinner: Spinner

    @property
    def node(self) -> Node:
        """The node."""
        return self.spinner.node


class Composition(Closing):
    """
    Loads nodes into this process and unloads them. A context manager; leaving it unloads all.

    :param context: rclpy context of the nodes; the default one where None
    """

    def __init__(self, context: Any = None) -> None:
        self._context = context
        self._components: dict[int, Component] = {}
        self._hosted: list[Spinner] = []
        self._next_id = 1

    @property
    def components(self) -> tuple[Component, ...]:
        """What is loaded, in the order it came."""
        return tuple(self._components.values())

    def host(self, node: Node) -> None:
        """Spin a node that is no component, such as the container's own; ends before them."""
        self._hosted.append(Spinner(node, self._context))

    def load(self, plugin: str, **kwargs: Any) -> Component:
        """
        Make a node, start it, and spin it.

        :param plugin: see :func:`component_class`
        :param kwargs: for the node
        :raises InputError: no such component, or the node cannot be made or started
        """
        return self.load_all([plugin], **kwargs)[0]

    def load_all(self, plugins: Sequence[str], **kwargs: Any) -> list[Component]:
        """
        Make several nodes, then start them, the last one first, then spin them.

        The detector, named first, takes its first image when the nodes that work on its faces have
        their models; and they, when they start, find it in their process.

        :param kwargs: for every one of them
        :raises InputError: as :meth:`load`; none of them stays then
        """
        nodes: list[Node] = []
        try:
            for plugin in plugins:
                nodes.append(  # noqa: PERF401  (the ones made so far must be destroyed on failure)
                    component_class(plugin)(context=self._context, **kwargs))
            for plugin, node in reversed(list(zip(plugins, nodes))):
                start = getattr(node, 'start', None)
                if start is not None and not start():
                    raise InputError(getattr(node, 'failure', '') or f'{plugin} did not start')
        except BaseException:
            for node in nodes:
                node.destroy_node()
            raise
        return [self._add(plugin, node) for plugin, node in zip(plugins, nodes)]

    def _add(self, plugin: str, node: Node) -> Component:
        component = Component(self._next_id, plugin, Spinner(node, self._context))
        self._components[self._next_id] = component
        self._next_id += 1
        return component

    def unload(self, unique_id: int) -> None:
        """
        End a node and free its resources.

        :raises InputError: nothing has that number
        """
        component = self._components.pop(unique_id, None)
        if component is None:
            raise InputError(f'no component has the number {unique_id}')
        component.spinner.close()

    def close(self) -> None:
        """End all, last first."""
        while self._hosted:
            self._hosted.pop().close()
        for unique_id in reversed(list(self._components)):
            self.unload(unique_id)


def compose(plugins: Sequence[str], context: Any = None, **kwargs: Any) -> Composition:
    """
    Load several nodes; on failure of one, none stays.

    :param kwargs: for every one of them
    :raises InputError: one of them cannot be loaded
    """
    composition = Composition(context)
    composition.load_all(plugins, **kwargs)
    return composition
