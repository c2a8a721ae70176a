# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Signals that end a program, one by one and many at once."""

import os
import signal
import subprocess
import sys
import time

from patience import PATIENT_S
import pytest

PROGRAM = """
import sys, time
from aitable_ros.stopping import StopSignal
stop = StopSignal()
assert not stop.is_set() and not stop.wait(0.01)
print('ready', flush=True)
assert stop.wait() and stop.is_set() and stop.wait(0.0)
time.sleep(0.2)  # those that are still on their way
"""


@pytest.fixture
def program():
    """Return a program that waits."""
    program = subprocess.Popen([sys.executable, '-c', PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout.readline() == 'ready\n'
        time.sleep(0.05)
        yield program
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_told_to(program, number):
    program.send_signal(number)
    assert program.wait(PATIENT_S) == 0


@pytest.mark.parametrize('round_', range(5))
def test_it_ends_however_often_it_is_told_to(program, round_):
    """Signals within the handler of another: with an Event, 25 of 40 programs never ended."""
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(program.pid, number)  # nobody has waited for it, so the number is its own
    assert program.wait(PATIENT_S) == 0


def test_waiting_takes_the_time_it_is_given():
    code = PROGRAM.replace('stop.wait(0.01)', 'stop.wait(0.3)').partition('print')[0]
    begin = time.monotonic()
    subprocess.run([sys.executable, '-c', code], check=True)
    assert time.monotonic() - begin >= 0.3
