# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The lifecycle of every node of this package.

configure starts the worker thread and makes the publishers, activate subscribes, deactivate
unsubscribes, cleanup ends the thread. Items are handled and results published on the worker thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy

from aitable_ros.config import CameraOptions
from aitable_ros.errors import InputError
from aitable_ros.nodes import qos
from aitable_ros.nodes.diagnostics import Diagnostics, ModelStatus, PERIOD_S, status_of
from aitable_ros.nodes.frame_source import FaceSource, FrameSource
from aitable_ros.nodes.graph_conflicts import GraphConflicts
from aitable_ros.nodes.image_health import ImageHealth
from aitable_ros.nodes.parameters import NodeParameters, ParameterRules
from aitable_ros.nodes.worker import Worker, WorkerSlot
from aitable_ros.nodes.worker_load import LoadWatch
from aitable_ros.options import Options


class ManagedNode(ParameterRules, LifecycleNode):  # type: ignore[misc]
    """
    A lifecycle node that handles items of one source on a worker thread.

    A subclass gives the class variables, :meth:`_handle` and :meth:`_make_publishers`. A node with
    a model derives from :class:`aitable_ros.nodes.model_node.ModelNode`.

    :param kwargs: for ``rclpy.node.Node``: context, namespace, cli_args, parameter_overrides, ...
    :raises InputError: a parameter cannot be used
    """

    NAME: ClassVar[str]
    """Default name of the node."""
    OPTIONS: ClassVar[tuple[type[Options], ...]] = (CameraOptions,)
    """Option classes; each field is a parameter."""
    SOURCE: ClassVar[type[FrameSource]] = FaceSource
    """Where the items come from."""

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name or self.NAME, **kwargs)
        try:
            for service in self.services:
                if service.srv_type is ChangeState:
                    service.callback = partial(self._change_state, service.callback)
            self.work = WorkerSlot()
            self.load = LoadWatch()
            self.parameters = NodeParameters(self, self.OPTIONS, self._reconfigure)
            self.images = ImageHealth(self)
            self.conflicts = GraphConflicts(self)
            self.failure = ''
            self.source = self.SOURCE(
                self, self.parameters[CameraOptions].image_transport, self._offer,
                self.images.malformed, self.conflicts)
            self._active = False
            self._outputs: list[Any] = []
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._diagnostics = Diagnostics(
                self, self.NAME, self.resolve_topic_name('image'), lambda: status_of(self))
            self.create_timer(PERIOD_S, self._tick, clock=steady)
            self._autostart_timer = None
            if self.parameters[CameraOptions].autostart:
                self._autostart_timer = self.create_timer(0.0, self.start, clock=steady)
        except BaseException:
            super().destroy_node()
            raise

    # For subclasses to override

    def _handle(self, item: Any) -> None:
        """Handle one item and publish; runs on the worker thread."""
        raise NotImplementedError

    def _make_publishers(self) -> None:
        """Create the publishers, with :meth:`_publisher`."""
        raise NotImplementedError

    def _start_worker(self) -> Worker[Any, Any]:
        """Start the thread that handles the items."""
        worker: Worker[None, Any] = Worker(
            self.get_name(), lambda: None, lambda _, item: self._handle(item), self.images.failed)
        worker.start()
        return worker

    def _subscribe(self) -> None:
        """Begin to receive."""
        self.source.start()

    def _unsubscribe(self) -> None:
        """Stop receiving. Idempotent."""
        self.source.stop()

    def _once_a_second(self) -> None:
        """Do periodic work while active."""
        self.source.refresh()

    def _reconfigure(self, parameters: NodeParameters) -> None:
        """Apply changed options, or raise InputError to refuse them."""

    def details(self) -> dict[str, object]:
        """Return the node's own figures for diagnostics."""
        return self.source.details()

    def model_status(self) -> ModelStatus | None:
        """Return the model and its state; None for a node without a model."""
        return None

    # For the host of the node

    def start(self) -> bool:
        """
        Configure and activate once, if ``autostart`` is set.

        A host calls it before it spins the node, to learn the result; a node that is only spun
        starts itself.

        :return: False on failure; the reason is logged and in :attr:`failure`
        """
        if self._autostart_timer is None:
            return True
        self.destroy_timer(self._autostart_timer)
        self._autostart_timer = None
        return all(
            transition() == TransitionCallbackReturn.SUCCESS
            for transition in (self.trigger_configure, self.trigger_activate))

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        machine = self._state_machine
        return str(machine.current_state[1]) if machine else 'destroyed'

    def destroy_node(self) -> None:
        """Stop the worker and leave the graph."""
        self._release()
        super().destroy_node()
        # The state machine holds the node's handle, which would keep the node's name in the graph
        # until the next garbage collection.
        self._state_machine = None

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and make the publishers."""
        self.failure = ''
        self.images.reset()
        try:
            self._release()  # left over from a transition that failed
            self.work.put(self._start_worker())
            self._make_publishers()
        except InputError as error:
            return self._fail(str(error))
        except Exception as error:
            return self._fail(f'{type(error).__name__}: {error}')
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe."""
        self.failure = ''
        result = super().on_activate(state)
        self.images.watch.start()
        self._active = True
        try:
            self._subscribe()
        except Exception as error:
            self._silence()
            super().on_deactivate(state)
            return self._fail(f'cannot subscribe: {error}', release=False)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe."""
        self._silence()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything that configure made."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    on_shutdown = on_cleanup

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured."""
        self.failure = f'an error while {state.label}; configure it again'
        self.get_logger().error(self.failure)
        try:
            self._release()
        except Exception as error:
            self.get_logger().error(f'another error during cleanup: {error}')
        return TransitionCallbackReturn.SUCCESS

    def _change_state(
        self, change: Callable[..., Any], request: ChangeState.Request,
        response: ChangeState.Response,
    ) -> Any:
        """
        Refuse a transition that the state does not have; leave the others to rclpy.

        rclpy before Kilted raises there, and that ends the spinning of every node of the executor.

        :param change: rclpy's own callback of the service
        """
        machine: Any = self._state_machine
        possible = {label: number for number, label, *_ in machine.available_transitions}
        label, number = request.transition.label, request.transition.id  # rclpy goes by the label
        if label in possible or (not label and number in possible.values()):
            return change(request, response)
        asked = label or next(
            (name for one, name, *_ in machine.transition_graph if one == number), 'unknown')
        here = ', '.join(f'{name} ({one})' for name, one in possible.items())
        self.get_logger().error(
            f"transition '{asked}' ({number}) is refused: the node is {self.state}, "
            f'and from there it can only: {here or "nothing"}')
        response.success = False
        return response

    def _fail(self, reason: str, *, release: bool = True) -> TransitionCallbackReturn:
        self.failure = reason
        self.get_logger().error(reason)
        if release:
            self._release()
        return TransitionCallbackReturn.FAILURE

    def _silence(self) -> None:
        self._active = False
        self._unsubscribe()
        self.work.clear()

    def _release(self) -> None:
        """Free everything that configure made, even where one part fails."""
        try:
            self._silence()
        finally:
            if not self.work.stop():
                self.get_logger().error('the model does not return; its thread is left behind')
            while self._outputs:
                self.destroy_lifecycle_publisher(self._outputs.pop())

    # For subclasses to call

    def _publisher(self, kind: type, topic: str) -> Any:
        """Create a managed, reliable publisher that cleanup removes."""
        publisher = self.create_lifecycle_publisher(
            kind, topic, qos.own(qos.OUTPUT), qos_overriding_options=qos.overridable(),
            event_callbacks=self.conflicts.of_publisher(self.resolve_topic_name(topic)))
        self._outputs.append(publisher)
        return publisher

    @property
    def _publishing(self) -> bool:
        """Whether the calling worker thread may publish; one that was left behind may not."""
        return self._active and self.work.is_current

    def _offer(self, item: Any) -> None:
        """Give the worker an item."""
        self.images.watch.arrived()
        if self._active:
            self.work.offer(item)

    def _tick(self) -> None:
        """Check everything once a second, and publish diagnostics."""
        if self._active:
            if self.images.look(self.source, self.parameters[CameraOptions].stale_after_s):
                self.source.resubscribe()
            self._once_a_second()
        self.conflicts.look()
        self._diagnostics.publish()


def is_heard(publisher: Any) -> bool:
    """Return whether a message would reach somebody, now or (transient local) later."""
    return bool(
        publisher.qos_profile.durability != DurabilityPolicy.VOLATILE
        or publisher.get_subscription_count())


def subscribe_reliably(node: ManagedNode, kind: type, topic: str, callback: Any) -> Any:
    """Create a reliable subscription, which the caller destroys."""
    return node.create_subscription(
        kind, topic, callback, qos.own(qos.OUTPUT), qos_overriding_options=qos.overridable(),
        event_callbacks=node.conflicts.of_subscription(node.resolve_topic_name(topic)))
