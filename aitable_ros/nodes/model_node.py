# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
A managed node around one model: opened on the worker thread, kept running, exchanged on request.

configure resolves the chain and loads the model, deactivate forgets the people, cleanup frees the
model. While the node runs, a model that fails or hangs is replaced by the next one of the chain.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, ClassVar, Protocol, TypeVar

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import Trigger

from aitable_msgs.srv import ReloadModel
from aitable_ros.inference.chain import Attempt, Avoid
from aitable_ros.inference.shared_models import SHARED
from aitable_ros.nodes import environment
from aitable_ros.nodes.channel import Channel, channel
from aitable_ros.nodes.diagnostics import ModelStatus
from aitable_ros.nodes.hung_model import HungModelWatch
from aitable_ros.nodes.managed_node import ManagedNode
from aitable_ros.nodes.model_keeper import ModelKeeper
from aitable_ros.nodes.parameters import NodeParameters
from aitable_ros.nodes.worker import Worker
from aitable_ros.types import ModelInfo

CONFIGURE_S = 2.0
"""A changed parameter waits this long for the image in hand before it is refused."""

Result = TypeVar('Result')


class Stage(Protocol):
    """What a model node runs: FaceFinder, FatigueMonitor or EmotionReader."""

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


class ModelNode(ManagedNode):
    """
    A managed node around one :class:`Stage`.

    A subclass gives ``STAGE``, ``SHARES``, :meth:`_step` and :meth:`_rehearse` beside what
    :class:`ManagedNode` asks for. The first of its ``OPTIONS`` are the stage's.
    """

    STAGE: ClassVar[Any]
    """The stage's class; ``STAGE.open(options, load, avoid)`` makes one."""
    SHARES: ClassVar[tuple[type, str]]
    """Type of the results that nodes of the same process share, and the topic that carries them."""

    def __init__(self, node_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        log = self.get_logger()
        self.keeper = ModelKeeper(
            log, self.work, options=lambda: self.parameters[self.OPTIONS[0]],
            open_stage=self._open, rehearse=self._rehearse)
        self._hung = HungModelWatch(
            self.get_name(), log, self.work, self.keeper, self._open_worker, self._rehearse)
        self.create_service(Trigger, '~/reset', self._on_reset)
        # In a group of its own: everything else goes on while it waits for the model.
        self.create_service(
            ReloadModel, '~/reload_model', self._on_reload,
            callback_group=MutuallyExclusiveCallbackGroup())
        self._tracks = 0
        kind, topic = self.SHARES
        self._channel: Channel[Any] = channel(self.context, kind, self.resolve_topic_name(topic))
        self._channel.add_producer(self)

    def destroy_node(self) -> None:
        """Leave the graph; nodes of this process subscribe to the topic from then on."""
        self._channel.remove_producer(self)
        super().destroy_node()

    # For subclasses to override

    def _step(self, stage: Any, item: Any) -> None:
        """Handle one item and publish; runs on the worker thread."""
        raise NotImplementedError

    def _rehearse(self, stage: Any) -> None:
        """Run a stage that is not in use yet once, on an empty picture."""
        raise NotImplementedError

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Resolve the chain, load the model, make the publishers."""
        self.keeper.start()
        self._hung.start()
        result = super().on_configure(state)
        if result == TransitionCallbackReturn.SUCCESS:
            self.keeper.log_model()
        environment.give_memory_back()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and forget the people."""
        result = super().on_deactivate(state)
        self.work.submit(lambda stage: stage.reset())
        return result

    def model_status(self) -> ModelStatus:
        """Return the model and its state."""
        keeper = self.keeper
        return ModelStatus(
            keeper.model, keeper.attempts, keeper.failures, keeper.reason, self.work.busy_s)

    def _start_worker(self) -> Worker[Any, Any]:
        worker = self._open_worker({})
        try:
            worker.call(self.keeper.runs)
        except Exception:
            worker.stop()
            raise
        return worker

    def _open_worker(self, avoid: Avoid) -> Worker[Any, Any]:
        """Open the stage on a thread of its own."""
        options = self.parameters[self.OPTIONS[0]]
        worker: Worker[Any, Any] = Worker(
            self.get_name(), lambda: self._open(options, avoid), self._step_and_note, self._failed)
        worker.start()
        return worker

    def _open(self, options: Any, avoid: Avoid) -> Stage:
        stage: Stage = self.STAGE.open(options, SHARED.load, avoid)
        return stage

    # On the worker thread

    def _step_and_note(self, stage: Any, item: Any) -> None:
        self._step(stage, item)
        if self.work.is_current:
            self.keeper.answered()

    def _failed(self, error: Exception) -> None:
        if self.work.is_current:
            self.images.failed(error)
            self.keeper.failed(error)

    # Services and parameters

    def _on_stage(
        self, function: Callable[[Any], Result], response: Any, done: Callable[[Result], str],
    ) -> Any:
        """Run ``function`` on the worker thread for a service that answers how it went."""
        try:
            response.message = done(self.work.call(function))
            response.success = True
        except Exception as error:
            response.success, response.message = False, str(error)
        return response

    def _calibrates(self, said: Callable[[Any], str]) -> None:
        """
        Offer ``~/calibrate``.

        :param said: makes the answer from what the stage's ``calibrate`` returns
        """
        def calibrate(request: Trigger.Request, response: Trigger.Response) -> Any:
            return self._on_stage(lambda stage: stage.calibrate(), response, said)

        self.create_service(Trigger, '~/calibrate', calibrate)

    def _reconfigure(self, parameters: NodeParameters) -> None:
        options = parameters[self.OPTIONS[0]]
        if self.work.worker is not None:
            self.work.call(lambda stage: stage.configure(options), CONFIGURE_S)

    def _on_reset(
        self, request: Trigger.Request, response: Trigger.Response,
    ) -> Trigger.Response:
        return self._on_stage(
            lambda stage: stage.reset(), response, lambda _: 'everybody is forgotten')

    async def _on_reload(
        self, request: ReloadModel.Request, response: ReloadModel.Response,
    ) -> ReloadModel.Response:
        """Load a model beside the running one and exchange the two between two images."""
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

    def _tick(self) -> None:
        self._hung.look()
        super()._tick()
