# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
How fast the models are on an NVIDIA GPU, host to host, beside PyTorch on the same machine.

``python benchmarks/models_gpu.py`` times what :meth:`TensorRTBackend.infer` does - upload,
inference, download, and all of its own Python - and PyTorch doing the same with EmoNet: eager, as a
CUDA graph, and compiled with ``max-autotune``. EmoNet has seeded weights, which no time depends on.
Every row is measured in every round, one after the other, so that a change of the machine's clock
meets all of them. The result goes to ``benchmarks/results/models_gpu.json``.

TensorRT and PyTorch may live in two interpreters: ``--tensorrt-python`` and ``--torch-python`` are
shell commands, such as ``'source env.sh; exec python3.10'``. The engines are built before, by
``aitable models build``; ``--emonet-onnx FILE`` writes the network to build them from, and
``--warm-compile`` makes PyTorch autotune ahead, which takes minutes, into its cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'test')]
WARM_UP = 30  # runs ahead of each round: caches and clocks
CLEAN = ('PYTHONHOME', 'LD_PRELOAD', 'LD_LIBRARY_PATH')
"""Of one interpreter's environment, what another must not inherit."""
PEERS: dict[str, dict[str, Any]] = {
    'PyTorch eager fp32': {},
    'PyTorch eager fp16, channels last': {'half': True, 'last': True},
    'PyTorch fp16 + CUDA graph': {'half': True, 'last': True, 'graph': True},
    'PyTorch max-autotune fp16': {'half': True, 'compiled': True}}
OURS = 'TensorRTBackend.infer'
VARIANTS: dict[str, dict[str, Any]] = {
    OURS: {}, f'{OURS}, asleep while it waits': {'wait': 'sleep'},
    'launch and wait alone': {'raw': True}}


def images(batch: int, shape: tuple[int, ...] = (3, 256, 256)) -> NDArray[np.float32]:
    """Return noise in 0 to 1: ``(batch, *shape)``."""
    return np.random.default_rng(3).random((batch, *shape), np.float32)


def timed(run: Callable[[], Any], runs: int) -> list[float]:
    """Return milliseconds of each run."""
    for _ in range(WARM_UP):
        run()
    times = []
    for _ in range(runs):
        begin = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - begin) / 1e6)
    return times


# In the child with PyTorch.

class Torch:
    """PyTorch's part: makes networks and runs them."""

    def __init__(self, expressions: int = 8) -> None:
        import emonet_seeded
        import torch

        self.torch = torch
        self.weights = {name: torch.from_numpy(value)
                        for name, value in emonet_seeded.state(expressions).items()}
        torch.backends.cudnn.benchmark = True

    def about(self) -> dict[str, Any]:
        """Return versions."""
        torch = self.torch
        return {'torch': torch.__version__, 'cuda': torch.version.cuda,
                'cudnn': torch.backends.cudnn.version(), 'device': torch.cuda.get_device_name(),
                'python': platform.python_version()}

    def open(self, batch: int, half: bool = False, last: bool = False, graph: bool = False,
             compiled: bool = False) -> Callable[[], None]:
        """Return what uploads a batch, runs it, and waits for the results to be here."""
        torch = self.torch
        from aitable_ros.inference.emonet_network import build

        network = build(8)
        network.load_state_dict(self.weights, strict=False)
        network = network.cuda().half() if half else network.cuda()
        if last:
            network = network.to(memory_format=torch.channels_last)
        if compiled:
            # (dynamic: else the second batch size makes it one graph for all sizes, and slower)
            network = torch.compile(network, mode='max-autotune', dynamic=False)
        host = torch.from_numpy(images(batch)).pin_memory()
        results = torch.zeros(batch, 10).pin_memory()

        def forward(image: Any) -> Any:
            image = image.half() if half else image
            image = image.to(memory_format=torch.channels_last) if last else image
            expression, valence, arousal = network(image)
            return torch.cat((expression, valence[:, None], arousal[:, None]), 1).float()

        @torch.inference_mode()  # type: ignore[untyped-decorator]
        def run() -> None:
            results.copy_(forward(host.to('cuda', non_blocking=True)), non_blocking=True)
            torch.cuda.synchronize()

        if not graph:
            for _ in range(4):
                run()
            return run
        with torch.inference_mode():
            still = host.cuda()
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                for _ in range(4):
                    forward(still)
            torch.cuda.synchronize()
            recorded = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recorded):
                out = forward(still)

        @torch.inference_mode()  # type: ignore[untyped-decorator]
        def replay() -> None:
            still.copy_(host, non_blocking=True)
            recorded.replay()
            results.copy_(out, non_blocking=True)
            torch.cuda.synchronize()

        return replay


# In the child with TensorRT.

class TensorRT:
    """Our part."""

    def about(self) -> dict[str, Any]:
        """Return versions."""
        from aitable_ros.inference.sidecar import Machine

        here = Machine.here(0)
        return {'tensorrt': here.tensorrt, 'driver': here.driver, 'device': here.gpu,
                'python': platform.python_version(), 'numpy': np.__version__}

    def open(self, batch: int, engine: str, raw: bool = False,
             wait: str = 'auto') -> Callable[[], Any]:
        """Return what runs an engine: all of ``infer``, or only the stream's part of it."""
        from aitable_ros.inference.tensorrt import TensorRTBackend

        backend = TensorRTBackend(Path(engine), wait=wait)
        inputs = {
            spec.name: images(batch, tuple(size or 1 for size in spec.shape[1:]))
            for spec in backend.inputs}
        backend.warm_up()  # as the nodes do; it also chooses how to wait
        for _ in range(3):
            backend.infer(inputs)
        if not raw:
            return lambda: backend.infer(inputs)
        *_, execution = backend._executions.values()  # the one that ran last

        def run() -> None:
            with backend._device.current():
                began_s = time.monotonic()
                backend.launch(execution)
                backend._wait.wait(backend._device, backend._stream, began_s, execution)

        return run


def work(kind: str) -> None:
    """Answer lines of JSON on standard input until it ends; what else prints goes to stderr."""
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    part: Any = None
    opened: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            part = part or (Torch() if kind == 'torch' else TensorRT())
            answer: Any
            if order['do'] == 'about':
                answer = part.about()
            elif order['do'] == 'open':
                begin = time.monotonic()
                opened[order['row']] = part.open(**order['options'])
                answer = round(time.monotonic() - begin, 1)
            else:
                answer = timed(opened[order['row']], order['runs'])
            reply = {'answer': answer}
        except Exception as error:  # one row must not cost the others
            reply = {'error': f'{type(error).__name__}: {error}'[:500]}
        answers.write(json.dumps(reply) + '\n')
        answers.flush()


class Child:
    """A worker in an interpreter of its own."""

    def __init__(self, command: str, kind: str) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in CLEAN}
        self.kind = kind
        self._process = subprocess.Popen(
            ['bash', '-c', f'{command} "$@"', 'worker', str(Path(__file__).resolve()),
             '--worker', kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**environment, 'PYTHONPATH': str(ROOT)})

    def ask(self, **order: Any) -> Any:
        """:raises RuntimeError: it could not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + '\n')
            self._process.stdin.flush()
            reply = json.loads(self._process.stdout.readline() or '{"error": "it ended"}')
        except OSError:
            reply = {'error': 'it ended'}
        if 'error' in reply:
            raise RuntimeError(reply['error'])
        return reply['answer']

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


def rows(args: argparse.Namespace) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return what is measured: table, row, kind of worker, and what the worker is told."""
    found: list[tuple[str, str, str, dict[str, Any]]] = []
    for engine in args.engines:
        name, _, rest = engine.partition('=')
        path, _, batch = rest.partition('@')
        options = {'engine': path, 'batch': int(batch or 1)}
        table = f'{name}, batch {options["batch"]}'
        found += [(table, name, 'tensorrt', {**options, **more})
                  for name, more in VARIANTS.items()]
    for batch in args.batches:
        found += [(f'emonet, batch {batch}', name, 'torch', {**options, 'batch': batch})
                  for name, options in PEERS.items()]
    return found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Open all rows, then time them in rounds; what is known is written after each round."""
    children = {'tensorrt': Child(args.tensorrt_python, 'tensorrt')}
    if args.batches:
        children['torch'] = Child(args.torch_python, 'torch')
    begin = time.monotonic()
    result: dict[str, Any] = {
        'at': time.strftime('%Y-%m-%d %H:%M:%S'), 'runs': args.runs, 'about': {}, 'tables': {}}
    for kind, child in children.items():
        try:
            result['about'][kind] = child.ask(do='about')
        except RuntimeError as error:
            result['about'][kind] = {'error': str(error)}
    times: dict[tuple[str, str], list[list[float]]] = {}
    ready = []
    for table, name, kind, options in rows(args):
        row = result['tables'].setdefault(table, {}).setdefault(name, {})
        if options.get('compiled') and time.monotonic() - begin > args.budget:
            row['error'] = 'no time to compile'
            continue
        try:
            row['open_s'] = children[kind].ask(do='open', row=f'{table}/{name}', options=options)
            ready.append((table, name, kind))
        except RuntimeError as error:
            row['error'] = str(error)
        print(f'{time.monotonic() - begin:4.0f} s {table}: {name}: {row}', file=sys.stderr,
              flush=True)
    for number in range(args.rounds):
        for table, name, kind in ready:
            if number and time.monotonic() - begin > args.budget + 60:
                continue
            row = result['tables'][table][name]
            try:
                got = children[kind].ask(do='time', row=f'{table}/{name}', runs=args.runs)
            except RuntimeError as error:
                row['error'] = str(error)
                continue
            times.setdefault((table, name), []).append(got)
            row.update(summary(times[table, name]))
        compare(result['tables'])
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=1) + '\n')
    for child in children.values():
        child.close()
    return result


def summary(rounds: list[list[float]]) -> dict[str, Any]:
    """Return the medians over rounds of each round's percentiles, and the rounds' medians."""
    p50 = [float(np.percentile(one, 50)) for one in rounds]
    p95 = [float(np.percentile(one, 95)) for one in rounds]
    return {'p50_ms': round(float(np.median(p50)), 4), 'p95_ms': round(float(np.median(p95)), 4),
            'rounds_p50_ms': [round(value, 4) for value in p50]}


def compare(tables: dict[str, Any]) -> None:
    """Add to each peer how many times as long as ours it takes."""
    for table in tables.values():
        own = table.get(OURS, {}).get('p50_ms')
        for row in table.values():
            if own and 'p50_ms' in row:
                row['ours_over_this'] = round(own / row['p50_ms'], 3)


def shown(result: dict[str, Any]) -> str:
    """Return the tables as text."""
    lines = [json.dumps(result['about'])]
    for table, entries in result['tables'].items():
        lines.append(f'\n{table:44s} {"p50 ms":>9s} {"p95 ms":>9s} {"ours / this":>11s}')
        for name, row in entries.items():
            if 'p50_ms' in row:
                ratio = row.get('ours_over_this', '')
                lines.append(f'  {name:42s} {row["p50_ms"]:9.3f} {row["p95_ms"]:9.3f} {ratio:>11}')
            else:
                lines.append(f'  {name:42s} {row.get("error", "not measured")}')
    return '\n'.join(lines)


def warm_compile(args: argparse.Namespace) -> int:
    """Compile PyTorch's rows ahead; TORCHINDUCTOR_CACHE_DIR must be that of the measuring run."""
    part = Torch()
    for batch in args.batches:
        for name, options in PEERS.items():
            if options.get('compiled'):
                begin = time.monotonic()
                part.open(batch=batch, **options)
                print(f'{name}, batch {batch}: {time.monotonic() - begin:.0f} s', flush=True)
    return 0


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('engines', nargs='*', metavar='NAME=ENGINE[@BATCH]',
                        help='what to time; "emonet" stands in one table with PyTorch')
    parser.add_argument('--batches', type=int, nargs='*', default=[1, 8],
                        help='of EmoNet in PyTorch (default: 1 8; none: no PyTorch)')
    parser.add_argument('--runs', type=int, default=200, help='a round (default: 200)')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--budget', type=float, default=400, metavar='S',
                        help='nothing is compiled after that, and no round begun a minute later')
    parser.add_argument('--tensorrt-python', default=f'exec {sys.executable}', metavar='COMMAND')
    parser.add_argument('--torch-python', default=f'exec {sys.executable}', metavar='COMMAND')
    parser.add_argument('--output', type=Path,
                        default=ROOT / 'benchmarks' / 'results' / 'models_gpu.json')
    parser.add_argument('--warm-compile', action='store_true')
    parser.add_argument('--emonet-onnx', type=Path, metavar='FILE')
    parser.add_argument('--worker', choices=('torch', 'tensorrt'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker)
    elif args.warm_compile:
        return warm_compile(args)
    elif args.emonet_onnx:
        import emonet_seeded

        args.emonet_onnx.write_bytes(
            emonet_seeded.to_onnx(emonet_seeded.state()).SerializeToString())
    else:
        print(shown(measure(args)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
