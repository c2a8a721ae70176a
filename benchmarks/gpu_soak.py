# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Leave TensorRT running on an NVIDIA GPU and see whether it stays as it was.

``python benchmarks/gpu_soak.py cycles ENGINE`` opens, runs and closes an engine 1,000 times, and
with ``--cycle`` only a part of that, to see which part holds on to something. Where an engine is
loaded, TensorRT alone loads and drops it as often first: what it holds on to by itself is told, and
not held against us.

``... threads ENGINE ENGINE --minutes 10`` runs several at once on one GPU, a thread each.

Both read the process's and the GPU's memory, and exit with 1 where something grew, an answer
changed or a run failed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import faulthandler
from functools import cache, partial
import json
from pathlib import Path
import sys
from threading import Event, Thread
import time
from typing import Any

import numpy as np
from process import memory_mb

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
MOST_RSS_MB = 16.0
"""Growth of a process after its first cycles; a leak of 100 kB a cycle is 90 MB."""
MOST_GPU_MB = 4.0
SETTLED = 0.2
"""Share of the run after which nothing may grow: drivers and allocators fill pools before."""
STALL_S = 30.0
BIN_US, BINS = 5, 20_000
"""Of the histogram of times: a list of all would itself be what grows."""


def sample(**when: float) -> dict[str, float]:
    """Return what this process holds, and what the GPU has left beside all processes."""
    from aitable_ros.inference.cuda import primary_context

    with primary_context(0) as device:
        return {**when, 'rss_mb': round(memory_mb('VmRSS'), 2),
                'gpu_free_mb': round(device.free_bytes() / 2**20, 2)}


def growth(samples: list[dict[str, float]]) -> dict[str, float]:
    """Return how much more is held at the end than when all had settled."""
    if not samples:
        return {'rss_mb': 0.0, 'gpu_mb': 0.0}
    settled, last = samples[int(len(samples) * SETTLED)], samples[-1]
    return {'rss_mb': round(last['rss_mb'] - settled['rss_mb'], 2),
            'gpu_mb': round(settled['gpu_free_mb'] - last['gpu_free_mb'], 2)}


def inputs_of(backend: Any, batch: int) -> dict[str, Any]:
    """Return noise for a model."""
    noise = np.random.default_rng(1)
    return {spec.name: noise.random((batch, *(size or 1 for size in spec.shape[1:])), np.float32)
            for spec in backend.inputs}


def differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two answers to the same inputs are not the same."""
    return any(not np.array_equal(one[name], other[name]) for name in one)


def backend_cycle(engine: Path, runs: int = 2, **options: Any) -> dict[str, Any]:
    """Open, run (the second time as a CUDA graph) and close; return the outputs."""
    from aitable_ros.inference.tensorrt import TensorRTBackend

    answer: dict[str, Any] = {}
    with TensorRTBackend(engine, **options) as backend:
        inputs = inputs_of(backend, 1)
        for _ in range(runs):
            answer = backend.infer(inputs)
    return answer


def bare_cycle(engine: Path, load: bool = True, context: bool = True) -> dict[str, Any]:
    """TensorRT and nothing of ours: load the engine, make a context, let both go."""
    import tensorrt

    from aitable_ros.inference.cuda import primary_context
    from aitable_ros.inference.tensorrt_log import logger

    with primary_context(0):
        runtime = tensorrt.Runtime(logger())
        loaded = runtime.deserialize_cuda_engine(engine.read_bytes()) if load else None
        if loaded is not None and context:
            loaded.create_execution_context()
        del loaded, runtime
    return {}


@cache
def opened(engine: Path) -> Any:
    """Return an engine that stays open, and ran."""
    from aitable_ros.inference.tensorrt import TensorRTBackend

    backend = TensorRTBackend(engine)
    backend.warm_up()
    return backend


def graph_cycle(engine: Path) -> dict[str, Any]:
    """Capture a CUDA graph of an engine that stays open, launch it, let it go."""
    backend = opened(engine)
    *_, execution = backend._executions.values()
    with backend._device.current():
        graph = backend._device.capture(backend._stream, lambda: backend._enqueue(execution))
        graph.launch(backend._stream)
        backend._device.wait(backend._stream)
        graph.free()
    return {}


def memory_cycle(engine: Path) -> dict[str, Any]:
    """CUDA and nothing of TensorRT: a stream, memory of the GPU, pinned memory."""
    from aitable_ros.inference.cuda import primary_context

    with primary_context(0) as device:
        for item in (device.stream(), device.allocate(1 << 20), device.pin(1 << 20)):
            device.free(item)
    return {}


CYCLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    'all': backend_cycle, 'without graph': partial(backend_cycle, graphs=False),
    'without a run': partial(backend_cycle, runs=0), 'engine and context': bare_cycle,
    'engine': partial(bare_cycle, context=False), 'runtime': partial(bare_cycle, load=False),
    'graph': graph_cycle, 'memory': memory_cycle}
OF_AN_ENGINE = ('all', 'without graph', 'without a run')
"""Those of ours that load an engine, which TensorRT alone does not do without growing."""


def cycles(args: argparse.Namespace) -> dict[str, Any]:
    """Do it again and again; what loads an engine, after TensorRT alone has done so as often."""
    from aitable_ros.inference.tensorrt import TensorRTBackend

    # one stays open, and with it the context, so that the GPU's memory can be read
    with TensorRTBackend(args.engines[0]):
        alone: dict[str, Any] = {'growth': growth([])}
        if args.cycle in OF_AN_ENGINE:
            alone, _ = repeat(args, 'engine')
            write(args, {'engine': args.engines[0].name, 'tensorrt_alone': alone, 'running': True})
        ours, wrong = repeat(args, args.cycle)
    more = {key: ours['growth'][key] - alone['growth'][key] for key in alone['growth']}
    return {
        'engine': args.engines[0].name, 'cycle': args.cycle, 'cycles': args.cycles,
        'wrong_answers': wrong, 'growth_after_settling': ours['growth'],
        'growth_of_tensorrt_alone': alone['growth'], 'ours': ours, 'tensorrt_alone': alone,
        'passed': not wrong and more['rss_mb'] < MOST_RSS_MB and more['gpu_mb'] < MOST_GPU_MB}


def repeat(args: argparse.Namespace, kind: str) -> tuple[dict[str, Any], int]:
    """Return how memory went, and how many answers were not the first one."""
    begin = time.monotonic()
    samples: list[dict[str, float]] = []
    first: dict[str, Any] | None = None
    wrong = 0
    for cycle in range(args.cycles):
        answer = CYCLES[kind](args.engines[0])
        first = first or answer
        wrong += differ(first, answer)
        if cycle % max(1, args.cycles // 50) == 0 or cycle == args.cycles - 1:
            samples.append(sample(cycle=cycle))
    return {'seconds': _since(begin), 'growth': growth(samples), 'samples': samples}, wrong


class Runner(Thread):
    """Runs one model as fast as it goes until told to stop."""

    def __init__(self, engine: Path, batch: int, stop: Event) -> None:
        super().__init__(name=engine.stem, daemon=True)
        self.engine, self.batch, self.stopping = engine, batch, stop
        self.runs = self.wrong = 0
        self.error = ''
        self.last_s = time.monotonic()
        self.times = np.zeros(BINS + 1, np.int64)

    def run(self) -> None:
        """Until told; an error is kept, not raised."""
        from aitable_ros.inference.tensorrt import TensorRTBackend

        try:
            with TensorRTBackend(self.engine) as backend:
                inputs = inputs_of(backend, self.batch)
                wanted = backend.infer(inputs)
                while not self.stopping.is_set():
                    begin = time.perf_counter()
                    answer = backend.infer(inputs)
                    took_us = (time.perf_counter() - begin) * 1e6
                    self.times[min(BINS, int(took_us / BIN_US))] += 1
                    self.runs += 1
                    self.last_s = time.monotonic()
                    self.wrong += differ(wanted, answer)
        except Exception as error:  # it is what the result is about
            self.error = f'{type(error).__name__}: {error}'


def threads(args: argparse.Namespace) -> dict[str, Any]:
    """Run all engines at once."""
    stop = Event()
    runners = [Runner(engine, args.batch, stop) for engine in args.engines]
    begin = time.monotonic()
    for runner in runners:
        runner.start()
    samples: list[dict[str, float]] = []
    stalled: list[str] = []

    def result() -> dict[str, Any]:
        grown = growth(samples)
        # (the GPU's memory is only told: other processes may use it, too)
        return {
            'seconds': _since(begin), 'stalled': stalled, 'growth_after_settling': grown,
            'models': {runner.name: {
                'runs': runner.runs, 'wrong_answers': runner.wrong, 'error': runner.error,
                **_quantiles(runner.times)} for runner in runners},
            'samples': samples,
            'passed': not stalled and grown['rss_mb'] < MOST_RSS_MB and all(
                one.runs and not one.wrong and not one.error for one in runners)}

    while time.monotonic() - begin < 60 * args.minutes and not stalled:
        time.sleep(min(10.0, 60 * args.minutes / 10))
        stalled = [runner.name for runner in runners
                   if time.monotonic() - runner.last_s > STALL_S and not runner.error]
        samples.append(sample(second=_since(begin)))
        write(args, {**result(), 'running': True})
    stop.set()
    if stalled:
        faulthandler.dump_traceback(all_threads=True)
    for runner in runners:
        runner.join(STALL_S)
    return result()


def _quantiles(times: Any) -> dict[str, float]:
    """Return milliseconds out of a histogram."""
    if not times.any():
        return {}
    share = np.cumsum(times) / times.sum()
    return {f'p{q}_ms': round(int(np.searchsorted(share, q / 100)) * BIN_US / 1e3, 3)
            for q in (50, 95, 99, 100)}


def _since(begin: float) -> float:
    return round(time.monotonic() - begin, 1)


def write(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Put the result in its place, whole."""
    args.output.parent.mkdir(parents=True, exist_ok=True)
    part = args.output.with_suffix('.part')
    part.write_text(json.dumps(result, indent=1) + '\n')
    part.replace(args.output)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('what', choices=('cycles', 'threads'))
    parser.add_argument('engines', nargs='+', type=Path, metavar='ENGINE')
    parser.add_argument('--cycles', type=int, default=1000)
    parser.add_argument('--cycle', choices=CYCLES, default='all', help='what one is')
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--output', type=Path)
    args = parser.parse_args()
    args.output = args.output or ROOT / 'benchmarks' / 'results' / f'gpu_{args.what}.json'
    result = cycles(args) if args.what == 'cycles' else threads(args)
    write(args, result)
    print(json.dumps({key: value for key, value in result.items()
                      if key not in ('samples', 'ours', 'tensorrt_alone')}))
    return 0 if result['passed'] else 1


if __name__ == '__main__':
    sys.exit(main())
