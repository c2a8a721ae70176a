# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The executor that keeps its wait set: messages, and everything else that a node waits for."""

import subprocess
import sys
from threading import Thread
import time

from patience import PATIENT_S
import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.task import Future  # noqa: E402
from rclpy.waitable import NumberOfEntities, Waitable  # noqa: E402
from std_msgs.msg import Int32  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from aitable_ros.nodes import composition  # noqa: E402
from aitable_ros.nodes.composition import Spinner  # noqa: E402


@pytest.fixture
def context():
    made = rclpy.Context()
    rclpy.init(args=[], context=made)
    yield made
    made.try_shutdown()


def until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_messages_timers_services_and_coroutines_all_run(context):
    heard, late, ticks = [], [], []
    node = rclpy.create_node('spun', context=context)

    async def slowly(message):
        late.append(message.data)

    def answer(request, response):
        response.success = True
        return response

    node.create_subscription(Int32, 'numbers', lambda message: heard.append(message.data), 10)
    node.create_subscription(Int32, 'numbers', slowly, 10)
    node.create_timer(0.01, lambda: ticks.append(1))
    node.create_service(Trigger, 'ask', answer)
    other = rclpy.create_node('other', context=context)
    publisher = other.create_publisher(Int32, 'numbers', 10)
    client = other.create_client(Trigger, 'ask')
    spun, others = Spinner(node, context), Spinner(other, context)
    try:
        assert until(lambda: publisher.get_subscription_count() == 2)
        for number in range(50):
            publisher.publish(Int32(data=number))
            if number == 25:
                asked = client.call_async(Trigger.Request())
            time.sleep(0.002)
        assert until(lambda: heard == late == list(range(50)) and asked.done())
        assert asked.result().success
        assert len(ticks) > 5
    finally:
        others.close()
        spun.close()


def test_subscriptions_come_and_go_while_it_waits(context):
    heard = []
    node = rclpy.create_node('spun', context=context)
    other = rclpy.create_node('other', context=context)
    publisher = other.create_publisher(Int32, 'numbers', 10)
    spun = Spinner(node, context)
    try:
        for number in range(10):
            subscription = node.create_subscription(
                Int32, 'numbers', lambda message: heard.append(message.data), 10)
            assert until(lambda: publisher.get_subscription_count() == 1)
            publisher.publish(Int32(data=number))
            assert until(lambda number=number: heard[-1:] == [number])
            node.destroy_subscription(subscription)
            assert until(lambda: publisher.get_subscription_count() == 0), 'still held'
        assert heard == list(range(10))
    finally:
        spun.close()
        other.destroy_node()


def test_an_image_costs_no_round_of_rclpy(context, monkeypatch):
    executor = pytest.importorskip('aitable_ros.nodes.executor', exc_type=ImportError)
    heard, rounds = [], []
    node = rclpy.create_node('spun', context=context)
    node.create_subscription(Int32, 'numbers', lambda message: heard.append(message.data), 10)
    run = executor.ImageExecutor._run_others
    monkeypatch.setattr(executor.ImageExecutor, '_run_others', lambda self, condition: (
        rounds.append(1), run(self, condition)))
    other = rclpy.create_node('other', context=context)
    publisher = other.create_publisher(Int32, 'numbers', 10)
    spun = Spinner(node, context)
    try:
        assert until(lambda: publisher.get_subscription_count() == 1)
        time.sleep(0.3)
        before = len(rounds)
        for number in range(30):
            publisher.publish(Int32(data=number))
            time.sleep(0.005)
        assert until(lambda: heard == list(range(30)))
        assert len(rounds) - before < 10
    finally:
        spun.close()
        other.destroy_node()


class _Late(Waitable):
    """Gives the executor a task after it has looked for tasks, and before it waits."""

    def __init__(self, node, give):
        super().__init__(node.default_callback_group)
        self._give = give

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_num_entities(self):
        return NumberOfEntities()

    def add_to_wait_set(self, wait_set):
        if self._give is not None:
            self._give = self._give()

    def is_ready(self, wait_set):
        return False


def test_a_task_that_comes_just_before_a_wait_is_run(context):
    """A look that did not wait took its wake-up call, and nothing woke the wait that came next."""
    executor = pytest.importorskip('aitable_ros.nodes.executor', exc_type=ImportError)
    node = rclpy.create_node('spun', context=context)
    spinning, done = executor.ImageExecutor(context=context), Future()
    spinning.add_node(node)
    node.add_waitable(_Late(node, lambda: spinning.create_task(done.set_result, None) and None))
    thread = Thread(target=spinning.spin_until_future_complete, args=(done,), daemon=True)
    thread.start()
    thread.join(PATIENT_S)
    assert done.done()
    spinning.shutdown()
    node.destroy_node()


class _Humble(SingleThreadedExecutor):
    """Waits as the one of rclpy 3.3 does, whatever it is asked to wait for besides."""

    def _spin_once_impl(self, timeout_sec=None, wait_condition=None):
        super()._spin_once_impl(timeout_sec)


def test_a_node_at_rest_ends_on_humble_too(context, monkeypatch):
    monkeypatch.setattr(composition, 'ImageExecutor', _Humble)
    spun = Spinner(rclpy.create_node('at_rest', context=context), context)
    time.sleep(0.2)  # nothing happens any more: no timer, no message
    closing = Thread(target=spun.close, daemon=True)
    closing.start()
    closing.join(PATIENT_S)
    assert not closing.is_alive()


def test_an_rclpy_without_its_parts_keeps_its_own_executor():
    ended = subprocess.run([sys.executable, '-c', '\n'.join((
        'import rclpy',
        'from rclpy.executors import SingleThreadedExecutor',
        'del SingleThreadedExecutor._spin_once_impl',
        'from aitable_ros.nodes import composition',
        'assert composition.ImageExecutor is SingleThreadedExecutor',
    ))], capture_output=True, text=True, timeout=PATIENT_S)
    assert ended.returncode == 0, ended.stderr
