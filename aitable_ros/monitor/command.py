# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``aitable monitor``: a page for the operator, beside a running graph."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from aitable_ros.errors import InputError
from aitable_ros.monitor.guard import is_loopback

LOOPBACK = '127.0.0.1'
PORT = 8080


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--host', default=LOOPBACK,
        help='address to serve on; any other than the default lets others see the people in front '
             f'of the robot (default: {LOOPBACK})')
    parser.add_argument(
        '--port', type=int, default=PORT, help=f'0 takes a free one (default: {PORT})')
    parser.add_argument(
        '--image', metavar='TOPIC', nargs='?', const='',
        help='show pictures, too, while somebody looks: of this topic (relative to each camera), '
             'or, without a topic, of the one that the nodes read')
    parser.add_argument(
        '--namespace', metavar='NS', help='watch this camera only (default: all that are found)')


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    from aitable_ros.nodes import environment

    if not 0 <= args.port <= 65535:
        raise InputError(f'--port takes 0 to 65535, not {args.port}')
    namespace = None if args.namespace is None else f'/{args.namespace.strip("/")}'
    environment.prepare()
    try:
        return asyncio.run(_serve(args.host, args.port, namespace, args.image))
    except KeyboardInterrupt:  # before the loop listened to it
        return 0


async def _serve(host: str, port: int, namespace: str | None, image: str | None) -> int:
    from aitable_ros.monitor.graph_state import GraphState
    from aitable_ros.monitor.guard import Guard
    from aitable_ros.monitor.listener import GraphListener
    from aitable_ros.monitor.server import Server

    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end(error: Exception | None = None) -> None:
        if not ended.done():
            ended.set_result(None) if error is None else ended.set_exception(error)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    def failed(error: Exception) -> None:
        loop.call_soon_threadsafe(end, error)

    listener: GraphListener | None = None

    def watch(cameras: frozenset[str]) -> None:
        if listener is not None:
            listener.watch(cameras)

    state = GraphState()
    server = Server(state, Guard(host), on_watch=watch, pictures=image is not None)
    bound = await server.start(host, port)
    try:
        listener = await asyncio.to_thread(
            GraphListener, state, namespace=namespace, image=image, on_picture=server.show,
            on_end=failed)
        _announce(host, bound)
        await ended
    finally:
        await server.stop()
        if listener is not None:
            await asyncio.to_thread(listener.close)
    return 0


def _announce(host: str, port: int) -> None:
    shown = f'[{host}]' if ':' in host else host
    if not is_loopback(host):
        print(  # noqa: T201
            f'aitable monitor: WARNING: serving on {host}: everybody who reaches this machine can '
            'see the people in front of the robot. There is no password and no encryption; use '
            f'an SSH tunnel (ssh -L {port}:127.0.0.1:{port} ROBOT) where that is not wanted.',
            file=sys.stderr, flush=True)
    print(f'aitable monitor: http://{shown}:{port}  (Ctrl-C ends it)', flush=True)  # noqa: T201
