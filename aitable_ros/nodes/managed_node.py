# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The lifecycle that every node of this package has.

configure opens the stage on its worker thread, activate subscribes, deactivate unsubscribes and
forgets the people, cleanup frees the model. Results are published from the worker thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from threading import Thread
from time import monotonic
from typing import Any
from typing import ClassVar
from typing import Protocol
from typing import TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import Trigger

from aitable_msgs.srv import ReloadModel
from aitable_ros.config import CameraOptions
from aitable_ros.errors import ImageError
from aitable_ros.errors import InputError
from aitable_ros.inference.chain import Attempt
from aitable_ros.inference.chain import Avoid
from aitable_ros.inference.shared_models import HUNG_AFTER_S
from aitable_ros.inference.shared_models import SHARED
from aitable_ros.nodes import qos
from aitable_ros.nodes.diagnostics import Diagnostics
from aitable_ros.nodes.diagnostics import PERIOD_S
from aitable_ros.nodes.model_keeper import GAP_S
from aitable_ros.nodes.model_keeper import ModelKeeper
from aitable_ros.nodes.parameters import NodeParameters
from aitable_ros.nodes.parameters import TYPE_DESCRIPTIONS
from aitable_ros.nodes.report import report_on
from aitable_ros.nodes.statistics import Statistics
from aitable_ros.nodes.watchdog import Change
from aitable_ros.nodes.watchdog import ImageWatch
from aitable_ros.nodes.worker import Worker
from aitable_ros.nodes.worker import WorkerStoppedError
from aitable_ros.options import Options
from aitable_ros.types import Frame
from aitable_ros.types import ModelInfo

LOG_AGAIN_S = 60.0
"""A fault that goes on is logged once in this time, each cause by itself."""
TWIN_TICKS = 3
"""Seconds from one look for a node of the same name to the next."""
CONFIGURE_S = 2.0
"""So long a parameter waits for the image in hand before it is refused."""
MOST_LEFT_BEHIND = 3
"""So many models that do not return are replaced until the node is configured again: each stays in
memory with its thread, and where three hang it is not the model."""

Result = TypeVar('Result')


class Stage(Protocol):
    """What a managed node owns: FaceFinder, EmotionReader, FatigueMonitor and the painter."""

    @property
    def model(self) -> ModelInfo:
        """What runs; empty where the stage is off."""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """How the chain came to that model."""

    def configure(self, options: Any) -> None:
        """Change what is dynamic."""

    def adopt(self, other: Any) -> None:
        """Exchange models with another stage of its kind; people stay."""

    def reset(self) -> None:
        """Forget everybody."""

    def close(self) -> None:
        """Free the model."""


class ManagedNode(LifecycleNode):  # type: ignore[misc]
    """
    A lifecycle node around one stage.

    A subclass gives the class variables, :meth:`_step`, :meth:`_rehearse`,
    :meth:`_make_publishers`, :meth:`_subscribe`, :meth:`_unsubscribe` and :meth:`_resubscribe`.

    :param kwargs: for ``rclpy.node.Node``: context, namespace, cli_args, parameter_overrides, ...
    :raises InputError: a parameter cannot be used
    """

    NAME: ClassVar[str]
    """Default name of the node."""
    OPTIONS: ClassVar[type[Options]]
    """The stage's options; each field is a parameter."""
    STAGE: ClassVar[Any]
    """The stage's class; ``STAGE.open(options, load, avoid)`` makes one."""
    HAS_MODEL: ClassVar[bool] = True

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name or self.NAME, **kwargs)
        try:
            self.parameters = NodeParameters(self, (self.OPTIONS, CameraOptions), self._reconfigure)
            self.statistics = Statistics()
            self.watch = ImageWatch(self.get_clock())
            self.disagreements = qos.Disagreements(self)
            self.keeper = ModelKeeper(
                self.get_logger(), worker=lambda: self._worker,
                options=lambda: self.parameters[self.OPTIONS], open_stage=self._open,
                rehearse=self._rehearse)
            self.twin = ''
            self._worker: Worker[Any, Any] | None = None
            self._active = False
            self._failure = ''
            self._handover = Lock()  # of the worker, against a transition
            self._hung: Worker[Any, Any] | None = None
            self._left_behind = 0
            self._ticks = 0
            self._logged: dict[str, float] = {}
            self._outputs: list[Any] = []
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._diagnostics = Diagnostics(
                self, self.NAME, self.resolve_topic_name('image'), lambda: report_on(self))
            self.create_timer(PERIOD_S, self._tick, clock=steady)
            self.create_service(Trigger, '~/reset', self._on_reset)
            if self.HAS_MODEL:
                # A group of its own: while it waits for the model, all else must go on.
                self.create_service(
                    ReloadModel, '~/reload_model', self._on_reload,
                    callback_group=MutuallyExclusiveCallbackGroup())
            self._autostart_timer = None
            if self.parameters[CameraOptions].autostart:
                self._autostart_timer = self.create_timer(0.0, self.start, clock=steady)
        except BaseException:
            super().destroy_node()
            raise

    # What a subclass does

    def _step(self, stage: Any, item: Any) -> None:
        """Handle one item and publish; runs on the worker thread."""
        raise NotImplementedError

    def _rehearse(self, stage: Any) -> None:
        """Run a stage that nobody uses yet once, on a picture of nothing."""

    def _make_publishers(self) -> None:
        """Create the publishers, with :meth:`_publisher`."""
        raise NotImplementedError

    def _subscribe(self) -> None:
        """Begin to receive."""
        raise NotImplementedError

    def _unsubscribe(self) -> None:
        """Stop that. Idempotent."""
        raise NotImplementedError

    def _resubscribe(self) -> None:
        """Subscribe anew to what does not come; what this node is not told by topic stays."""
        raise NotImplementedError

    def _once_a_second(self) -> None:
        """Do what is to be done now and then while active."""

    def details(self) -> dict[str, object]:
        """Return what else diagnostics should show."""
        return {}

    def expects(self) -> str:
        """Return what this node waits for, for the log; empty where another node here tells it."""
        return f'image on {self.resolve_topic_name("image")}'

    # What a host does

    def start(self) -> bool:
        """
        Configure and activate, when ``autostart`` is set and that has not been done yet.

        A host calls it before it spins, to know; a node that is merely spun does it by itself.

        :return: False when it could not; the reason is logged and in :attr:`failure`
        """
        if self._autostart_timer is None:
            return True
        self.destroy_timer(self._autostart_timer)
        self._autostart_timer = None
        return all(
            transition() == TransitionCallbackReturn.SUCCESS
            for transition in (self.trigger_configure, self.trigger_activate))

    @property
    def failure(self) -> str:
        """Why the last transition failed; empty where it did not."""
        return self._failure

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        machine = self._state_machine
        return str(machine.current_state[1]) if machine else 'destroyed'

    @property
    def busy_s(self) -> float:
        """How long the model has been at one image."""
        worker = self._worker
        return worker.busy_s if worker else 0.0

    @property
    def dropped(self) -> int:
        """Images that came while the model was busy, since configure."""
        worker = self._worker
        return worker.dropped if worker else 0

    def declare_parameter(self, name: str, *args: Any, **kwargs: Any) -> Parameter:
        """Declare it; rclpy's own that says whether to describe types is False by default."""
        if name == TYPE_DESCRIPTIONS and args:
            args = (False, *args[1:])
        return super().declare_parameter(name, *args, **kwargs)

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set all or none; a parameter that cannot be set says how it can."""
        parameters: NodeParameters | None = getattr(self, 'parameters', None)
        refusal = parameters.refusal(parameter_list) if parameters else ''
        if refusal:
            return SetParametersResult(successful=False, reason=refusal)
        return super().set_parameters_atomically(parameter_list)

    def destroy_node(self) -> None:
        """Stop the worker, free the model and leave the graph."""
        self._release()
        super().destroy_node()
        # The state machine holds the node's handle, and would keep its name in the graph until
        # somebody collects garbage.
        self._state_machine = None

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Resolve the chain, load the model, make the publishers."""
        self._failure = ''
        self.statistics = Statistics()
        self.keeper.start()
        self._left_behind = 0
        try:
            self._release()  # what a transition that failed has left
            worker = self._make_worker({})
            self._worker = worker
            worker.call(self.keeper.runs)
            self._make_publishers()
        except InputError as error:
            return self._fail(str(error))
        except Exception as error:
            return self._fail(f'{type(error).__name__}: {error}')
        if self.HAS_MODEL:
            self.keeper.tell()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe."""
        self._failure = ''
        result = super().on_activate(state)
        self.watch.start()
        self._active = True
        try:
            self._subscribe()
        except Exception as error:
            self._silence()
            super().on_deactivate(state)
            return self._fail(f'cannot subscribe: {error}', release=False)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and forget the people."""
        self._silence()
        if self._worker is not None:
            self._worker.submit(lambda stage: stage.reset())
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop whatever runs and free the model."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured."""
        self._failure = f'an error while {state.label}; configure it again'
        self.get_logger().error(self._failure)
        try:
            self._release()
        except Exception as error:
            self.get_logger().error(f'and another while it was cleaned up: {error}')
        return TransitionCallbackReturn.SUCCESS

    def _fail(self, reason: str, *, release: bool = True) -> TransitionCallbackReturn:
        self._failure = reason
        self.get_logger().error(reason)
        if release:
            self._release()
        return TransitionCallbackReturn.FAILURE

    def _silence(self) -> None:
        self._active = False
        self._unsubscribe()
        if self._worker is not None:
            self._worker.clear()

    def _release(self) -> None:
        """Let go of everything that configure made, even of the rest where one part fails."""
        try:
            self._silence()
        finally:
            with self._handover:
                worker, self._worker = self._worker, None
            if worker is not None and not worker.stop():
                self.get_logger().error('the model does not return; its thread is left behind')
            self._hung = None
            while self._outputs:
                self.destroy_lifecycle_publisher(self._outputs.pop())

    # For subclasses

    def _publisher(self, kind: type, topic: str) -> Any:
        """Create a managed, reliable publisher that cleanup removes."""
        publisher = self.create_lifecycle_publisher(
            kind, topic, qos.own(qos.OUTPUT), qos_overriding_options=qos.overridable(),
            event_callbacks=self.disagreements.of_publisher(self.resolve_topic_name(topic)))
        self._outputs.append(publisher)
        return publisher

    @property
    def _publishing(self) -> bool:
        """Whether a step on the worker thread may publish: it may come back after a cleanup."""
        return self._active and self._in_force

    @property
    def _in_force(self) -> bool:
        """Whether the caller runs on the worker's thread, not on one that was left behind."""
        worker = self._worker
        return worker is not None and worker.is_current

    def _offer(self, item: Any) -> None:
        """Give the worker an item."""
        self.watch.arrived()
        worker = self._worker
        if worker is not None and self._active:
            worker.offer(item)

    def _answered(self, frame: Frame, received_s: float) -> None:
        """Count an image as answered."""
        now = monotonic()
        stamp_latency_ns = self.get_clock().now().nanoseconds - frame.stamp_ns
        self.statistics.answered(
            now, frame.stamp_ns, now - received_s, stamp_latency_ns * 1e-9)

    def _malformed(self, error: ImageError) -> None:
        """Count an image that cannot be used, and say why, each cause once in a while."""
        self.watch.arrived()
        self.statistics.malformed(monotonic(), error.cause)
        self._complain(error.cause, f'image dropped: {error}')

    def _complain(self, cause: str, line: str) -> None:
        now = monotonic()
        if now - self._logged.get(cause, -LOG_AGAIN_S) >= LOG_AGAIN_S:
            self._logged[cause] = now
            self.get_logger().warning(line)

    def _on_stage(
        self, function: Callable[[Any], Result], response: Any, done: Callable[[Result], str],
    ) -> Any:
        """Run ``function`` on the worker thread for a service that says how it went."""
        worker = self._worker
        try:
            if worker is None:
                raise WorkerStoppedError('the node is not configured')
            response.message = done(worker.call(function))
            response.success = True
        except Exception as error:
            response.success, response.message = False, str(error)
        return response

    # On the worker thread

    def _open(self, options: Any, avoid: Avoid) -> Stage:
        stage: Stage = self.STAGE.open(options, SHARED.load, avoid)
        return stage

    def _make_worker(self, avoid: Avoid) -> Worker[Any, Any]:
        """Open the stage on a thread of its own."""
        options = self.parameters[self.OPTIONS]
        worker: Worker[Any, Any] = Worker(
            self.get_name(), lambda: self._open(options, avoid), self._handle, self._step_failed)
        worker.start()
        return worker

    def _handle(self, stage: Any, item: Any) -> None:
        self._step(stage, item)
        if self._in_force:
            self.keeper.answered()

    def _step_failed(self, error: Exception) -> None:
        if not self._in_force:
            return
        self.statistics.failed()
        self._complain(
            type(error).__name__, f'image not answered: {type(error).__name__}: {error}')
        self.keeper.failed(error)

    # Services and parameters

    def _reconfigure(self, parameters: NodeParameters) -> None:
        worker, options = self._worker, parameters[self.OPTIONS]
        if worker is not None:
            worker.call(lambda stage: stage.configure(options), CONFIGURE_S)

    def _on_reset(
        self, request: Trigger.Request, response: Trigger.Response,
    ) -> Trigger.Response:
        return self._on_stage(
            lambda stage: stage.reset(), response, lambda _: 'everybody is forgotten')

    async def _on_reload(
        self, request: ReloadModel.Request, response: ReloadModel.Response,
    ) -> ReloadModel.Response:
        """Load beside the running model while the node goes on; swap between two images."""
        executor = self.executor
        finished: Any = Future(executor=executor)

        def load() -> None:
            try:
                response.message = self.keeper.reload(request.model_path)
                response.success = True
            except Exception as error:
                response.success = False
                response.message = f'{" ".join(str(error).split())}; the old model runs on'
            response.backend = self.keeper.model.backend
            finished.set_result(None)
            executor.wake()

        Thread(target=load, name=f'{self.get_name()}_reload', daemon=True).start()
        await finished
        return response

    # Once a second

    def _tick(self) -> None:
        self._ticks += 1
        if self._active:
            self._watch_images()
            self._once_a_second()
        self._watch_model()
        self.disagreements.look()
        if self._ticks % TWIN_TICKS == 0:
            self._look_for_twin()
        self._diagnostics.publish()

    def _watch_images(self) -> None:
        """Say once that nothing comes, and once that it comes again; subscribe anew meanwhile."""
        change = self.watch.look(self.parameters[CameraOptions].stale_after_s)
        expected = self.expects()
        if not expected:
            return
        if change is Change.STALE:
            self.get_logger().warning(f'no {expected} for {self.watch.waited_s():.1f} s')
        elif change is Change.BACK:
            self.get_logger().info(f'{expected}: there again')
        if self.watch.retry_due():
            self._resubscribe()

    def _watch_model(self) -> None:
        """Leave behind what does not return: no thread can be ended from outside."""
        worker, before = self._worker, self._hung
        hung = worker if self.busy_s > HUNG_AFTER_S else None
        self._hung = hung
        if hung is None:
            if before is not None and before is worker:
                self.get_logger().info('the model has returned')
            return
        if hung is before:
            return
        more = self._left_behind < MOST_LEFT_BEHIND
        self.get_logger().error(
            f'the model has not returned for {self.busy_s:.0f} s; images are dropped until '
            + ('another has been opened in its place' if more else
               'it does; clean the node up and configure it again'))
        if more:
            self._left_behind += 1
            Thread(target=self._replace_worker, args=(hung,),
                   name=f'{self.get_name()}_replace', daemon=True).start()

    def _replace_worker(self, hung: Worker[Any, Any]) -> None:
        """
        Open the stage anew, without the model that hangs or at the chain's end with it.

        On a thread of its own: with a lost GPU, loading may hang as well. People are forgotten; who
        they were is in the stage that is left behind.
        """
        try:
            worker = self.keeper.without_hung(self._make_worker)
        except Exception as error:
            self.get_logger().error(f'nothing takes the place of the model that hangs: {error}; '
                                    'clean the node up and configure it again')
            return
        with suppress(Exception):  # not alone because of a picture of nothing
            worker.call(self._rehearse, GAP_S)
        with self._handover:
            wanted = self._worker is hung and hung.busy_s > HUNG_AFTER_S
            if wanted:
                worker.dropped += hung.dropped
                self._worker = worker
        if not wanted:  # it has returned, or the node was cleaned up
            worker.stop()
            return
        hung.stop(0.0)
        with suppress(WorkerStoppedError):
            worker.call(self.keeper.runs)
            self.keeper.tell()

    def _look_for_twin(self) -> None:
        """Say once that another node has this one's name: services and parameters reach either."""
        own = (self.get_name(), self.get_namespace())
        count = self.get_node_names_and_namespaces().count(own)
        line = ''
        if count > 1:
            line = (
                f'{count} nodes are called {self.get_fully_qualified_name()}; start one of them '
                'with -r __node:=another_name or -r __ns:=/another_namespace')
        if line and not self.twin:
            self.get_logger().warning(line)
        self.twin = line
