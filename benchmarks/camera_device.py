# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Compare a camera in the nodes' process with the same camera in another process.

    .venv/bin/python benchmarks/camera_device.py FILM

FILM is a video that is read as the camera, at its own rate. Prints the latency from stamp to
``fatigue`` (p50 and p95) and the CPU of all our processes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np

BIN = Path(sys.executable).parent
SETTLE_S, MEASURE_S = 20.0, 20.0
LISTENER = """
import json, sys, time
import rclpy
from aitable_msgs.msg import FatigueState
rclpy.init()
node = rclpy.create_node('latency')
heard = []
def arrived(state):
    stamp = state.header.stamp
    heard.append(time.time() - stamp.sec - stamp.nanosec * 1e-9)
node.create_subscription(FatigueState, 'fatigue', arrived, 10)
end = time.time() + float(sys.argv[1])
while time.time() < end:
    rclpy.spin_once(node, timeout_sec=0.1)
print(json.dumps(heard))
"""


def cpu_s(processes: list[subprocess.Popen[bytes]]) -> float:
    """Return the CPU time that processes have used, in seconds."""
    ticks = 0
    for process in processes:
        fields = Path(f'/proc/{process.pid}/stat').read_text().rpartition(')')[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf('SC_CLK_TCK')


def measure(name: str, commands: list[list[str]], environment: dict[str, str]) -> None:
    """Run the commands and print one line."""
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        for command in commands]
    try:
        time.sleep(SETTLE_S)
        before = cpu_s(processes)
        listener = subprocess.run(
            [sys.executable, '-c', LISTENER, str(MEASURE_S)], env=environment, text=True,
            capture_output=True, check=True)
        used = (cpu_s(processes) - before) / MEASURE_S
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
            process.wait()
    latency_ms = 1e3 * np.array(json.loads(listener.stdout))
    median, high = np.percentile(latency_ms, (50, 95))
    print(f'{name}: {latency_ms.size} answers, p50 {median:.1f} ms, p95 {high:.1f} ms, '
          f'CPU {used:.2f} cores')


def main(film: str) -> None:
    """Measure both."""
    from aitable_ros.nodes.environment import child_environment

    environment = child_environment()
    pipeline, camera = str(BIN / 'pipeline'), str(BIN / 'camera')
    measure('in one process', [[pipeline, '--camera-device', film]], environment)
    measure('by topic', [
        [pipeline], [camera, '--ros-args', '-p', f'device:={film}']], environment)


if __name__ == '__main__':
    main(sys.argv[1])
