# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The lifecycle that every node of this package has.

configure opens the stage on its worker thread, activate subscribes, deactivate unsubscribes and
forgets the people, cleanup frees the model. Results are published from the worker thread.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from threading import Thread
from time import monotonic
from typing import Any
from typing import ClassVar
from typing import Protocol
from typing import TypeVar

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import Trigger

from aitable_msgs.srv import ReloadModel
from aitable_ros.config import CameraOptions
from aitable_ros.errors import InputError
from aitable_ros.inference.chain import Attempt
from aitable_ros.nodes import qos
from aitable_ros.nodes.image_codec import ImageError
from aitable_ros.nodes.parameters import NodeParameters
from aitable_ros.nodes.statistics import Statistics
from aitable_ros.nodes.worker import Worker
from aitable_ros.nodes.worker import WorkerStoppedError
from aitable_ros.options import Options
from aitable_ros.types import Frame
from aitable_ros.types import ModelInfo

LOG_AGAIN_S = 10.0
"""A fault that goes on is logged once in this time, each cause by itself."""
FIRST_IMAGE_S = 5.0
"""So long the first image may take without a warning: camera and nodes start together."""

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

    def reset(self) -> None:
        """Forget everybody."""

    def close(self) -> None:
        """Free the model."""


class ManagedNode(LifecycleNode):  # type: ignore[misc]
    """
    A lifecycle node around one stage.

    A subclass gives the class variables, :meth:`_open`, :meth:`_step`, :meth:`_make_publishers`,
    :meth:`_subscribe` and :meth:`_unsubscribe`.

    :param kwargs: for ``rclpy.node.Node``: context, namespace, cli_args, parameter_overrides, ...
    :raises InputError: a parameter cannot be used
    """

    NAME: ClassVar[str]
    """Default name of the node."""
    OPTIONS: ClassVar[type[Options]]
    """The stage's options; each field is a parameter."""
    HAS_MODEL: ClassVar[bool] = True

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name or self.NAME, **kwargs)
        try:
            self.parameters = NodeParameters(self, (self.OPTIONS, CameraOptions), self._reconfigure)
            self.statistics = Statistics()
            self._worker: Worker[Any, Any] | None = None
            self._swap = Lock()
            self._active = False
            self._failure = ''
            self._logged: dict[str, float] = {}
            self._activated_s = 0.0
            self._last_arrival_s: float | None = None
            self._stale = False
            self._outputs: list[Any] = []
            self._stage_model = ModelInfo()
            self._stage_attempts: tuple[Attempt, ...] = ()
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._diagnostics = self.create_publisher(
                DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS)
            self.create_timer(1.0, self._tick, clock=steady)
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

    def _open(self, options: Any) -> Stage:
        """Open the stage; runs on the worker thread."""
        raise NotImplementedError

    def _step(self, stage: Any, item: Any) -> None:
        """Handle one item and publish; runs on the worker thread."""
        raise NotImplementedError

    def _make_publishers(self) -> None:
        """Create the publishers, with :meth:`_publisher`."""
        raise NotImplementedError

    def _subscribe(self) -> None:
        """Begin to receive."""
        raise NotImplementedError

    def _unsubscribe(self) -> None:
        """Stop that. Idempotent."""
        raise NotImplementedError

    def _once_a_second(self) -> None:
        """Do what is to be done now and then while active."""

    def _details(self) -> dict[str, object]:
        """Return what else diagnostics should show."""
        return {}

    def _expects(self) -> str:
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

    def destroy_node(self) -> None:
        """Stop the worker, free the model and leave the graph."""
        self._release()
        super().destroy_node()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Resolve the chain, load the model, make the publishers."""
        self._failure = ''
        self.statistics = Statistics()
        try:
            self._worker = self._new_worker(self.parameters[self.OPTIONS])
            self._make_publishers()
        except InputError as error:
            return self._fail(str(error))
        except Exception as error:
            return self._fail(f'{type(error).__name__}: {error}')
        self._tell_model()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe."""
        result = super().on_activate(state)
        self._activated_s = monotonic()
        self._last_arrival_s = None
        self._stale = False
        self._active = True
        try:
            self._subscribe()
        except Exception as error:
            self._active = False
            self._unsubscribe()
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
        self._release()
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
        self._silence()
        with self._swap:
            worker, self._worker = self._worker, None
        if worker is not None and not worker.stop():
            self.get_logger().error('the model does not return; its thread is left behind')
        for publisher in self._outputs:
            self.destroy_lifecycle_publisher(publisher)
        self._outputs.clear()

    # For subclasses

    def _publisher(self, kind: type, topic: str) -> Any:
        """Create a managed, reliable publisher that cleanup removes."""
        publisher = self.create_lifecycle_publisher(
            kind, topic, qos.OUTPUT, qos_overriding_options=qos.overridable())
        self._outputs.append(publisher)
        return publisher

    def _offer(self, item: Any) -> None:
        """Give the worker an item."""
        self._last_arrival_s = monotonic()
        worker = self._worker
        if worker is not None and self._active:
            worker.offer(item)

    def _answered(self, frame: Frame, received_s: float) -> None:
        """Count an image as answered."""
        now = monotonic()
        stamp_latency_ns = self.get_clock().now().nanoseconds - frame.stamp_ns
        self.statistics.answered(now, now - received_s, stamp_latency_ns * 1e-9)

    def _malformed(self, error: ImageError) -> None:
        """Count an image that cannot be used, and say why, each cause once in a while."""
        self._last_arrival_s = monotonic()
        self.statistics.malformed(error.cause)
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
        except TimeoutError:
            response.success, response.message = False, 'the model is busy; try again'
        except Exception as error:
            response.success, response.message = False, str(error)
        return response

    # Worker

    def _new_worker(self, options: Any) -> Worker[Any, Any]:
        worker: Worker[Any, Any] = Worker(
            self.get_name(), lambda: self._open(options), self._step, self._step_failed)
        worker.start()
        self._stage_model, self._stage_attempts = worker.call(
            lambda stage: (stage.model, tuple(stage.attempts)))
        return worker

    def _step_failed(self, error: Exception) -> None:
        self.statistics.failed()
        self._complain(
            type(error).__name__, f'image not answered: {type(error).__name__}: {error}')

    def _tell_model(self) -> None:
        if not self.HAS_MODEL:
            return
        log = self.get_logger()
        for attempt in self._stage_attempts:
            if attempt.reason:
                by = f' with {attempt.backend}' if attempt.backend else ''
                log.info(f'{attempt.entry}{by} passed over: {attempt.reason}')
        model = self._stage_model
        if model.model:
            log.info(f'runs {model.model} on {model.backend}, {model.precision}')
        else:
            log.warning('runs without a model: the stage is off')

    def _reconfigure(self, parameters: NodeParameters) -> None:
        worker, options = self._worker, parameters[self.OPTIONS]
        if worker is not None:
            worker.call(lambda stage: stage.configure(options), timeout_s=2.0)

    # Services

    def _on_reset(
        self, request: Trigger.Request, response: Trigger.Response,
    ) -> Trigger.Response:
        return self._on_stage(
            lambda stage: stage.reset(), response, lambda _: 'everybody is forgotten')

    async def _on_reload(
        self, request: ReloadModel.Request, response: ReloadModel.Response,
    ) -> ReloadModel.Response:
        """Load beside the running model while the node goes on; swap between two frames."""
        executor = self.executor
        finished: Any = Future(executor=executor)

        def load() -> None:
            try:
                self._swap_model(request.model_path, response)
            except Exception as error:
                response.success = False
                response.message = f'{error}; the old model runs on'
            response.backend = self._stage_model.backend
            finished.set_result(None)
            executor.wake()

        Thread(target=load, name=f'{self.get_name()}_reload', daemon=True).start()
        await finished
        return response

    def _swap_model(self, path: str, response: ReloadModel.Response) -> None:
        if self._worker is None:
            raise WorkerStoppedError('the node is not configured')
        options = self.parameters[self.OPTIONS]
        if path:
            values = {name: getattr(options, name) for name in options.__dataclass_fields__}
            options = type(options)(
                **{**values, 'engine_path': path, 'fallbacks': (), 'required': True})
        before = self._stage_model, self._stage_attempts
        try:
            worker = self._new_worker(options)
        except Exception:
            self._stage_model, self._stage_attempts = before
            raise
        with self._swap:
            old, self._worker = self._worker, worker if self._worker is not None else None
        if old is None:
            worker.stop()
            raise WorkerStoppedError('the node was cleaned up meanwhile')
        old.stop()
        response.success = True
        response.message = f'runs {self._stage_model.model}; people are observed afresh'
        self._tell_model()

    # Once a second

    def _tick(self) -> None:
        now = monotonic()
        if self._active:
            self._watch(now)
            self._once_a_second()
        self._diagnostics.publish(DiagnosticArray(
            header=self._now_header(), status=[self._status(now)]))

    def _now_header(self) -> Any:
        header = DiagnosticArray().header
        header.stamp = self.get_clock().now().to_msg()
        return header

    def _watch(self, now: float) -> None:
        """Say once that nothing comes, and once that it comes again."""
        patience = self.parameters[CameraOptions].stale_after_s
        if self._last_arrival_s is None:
            patience = max(patience, FIRST_IMAGE_S)
        waited = now - (self._last_arrival_s or self._activated_s)
        stale = waited > patience
        expected = self._expects()
        if stale and not self._stale and expected:
            self.get_logger().warning(f'no {expected} for {waited:.1f} s')
        elif self._stale and not stale and expected:
            self.get_logger().info(f'{expected}: there again')
        self._stale = stale

    def _status(self, now: float) -> DiagnosticStatus:
        figures = self.statistics.snapshot(now)
        state = self._state_machine.current_state[1]
        model, worker = self._stage_model, self._worker
        level, message = DiagnosticStatus.OK, 'running'
        if self._failure:
            level, message = DiagnosticStatus.ERROR, self._failure
        elif state != 'active':
            level, message = DiagnosticStatus.WARN, state
        elif self.HAS_MODEL and not model.model:
            level, message = DiagnosticStatus.WARN, 'off: no model'
        elif self._stale:
            level, message = DiagnosticStatus.WARN, f'no {self._expects() or "faces"}'
        values: dict[str, object] = {
            'state': state,
            'fps': f'{figures.fps:.1f}',
            'latency_p50_ms': f'{figures.latency_ms[0]:.1f}',
            'latency_p95_ms': f'{figures.latency_ms[1]:.1f}',
            'stamp_latency_p50_ms': f'{figures.stamp_latency_ms[0]:.1f}',
            'stamp_latency_p95_ms': f'{figures.stamp_latency_ms[1]:.1f}',
            'answered': figures.answered,
            'dropped': worker.dropped if worker else 0,
            'failed': figures.failed,
            'malformed': sum(figures.malformed.values()),
            **{f'malformed_{cause}': n for cause, n in sorted(figures.malformed.items())},
        }
        if self.HAS_MODEL:
            values.update(model=model.model, backend=model.backend, precision=model.precision)
            values.update({
                f'attempt_{number}': f'{attempt.entry} {attempt.backend}: '
                f'{attempt.reason or "runs"}'
                for number, attempt in enumerate(self._stage_attempts, 1)})
        values.update(self._details())
        return DiagnosticStatus(
            level=level, name=f'{self.get_fully_qualified_name()}: {self.NAME}', message=message,
            hardware_id=self.resolve_topic_name('image'),
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()])
