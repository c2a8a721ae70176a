# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The web server: some files and one WebSocket. It reads only its own folder and writes nothing.

A viewer acknowledges each message and then gets the newest data: nothing is queued for a slow
viewer, and one that does not answer is disconnected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
import json
from typing import Any, TYPE_CHECKING

from aitable_ros.errors import InputError
from aitable_ros.monitor.graph_state import GraphState, ViewerState
from aitable_ros.monitor.guard import Guard, HEADERS
from aitable_ros.monitor.pictures import Picture

if TYPE_CHECKING:
    from aiohttp import web

PAGES = {
    '/': ('index.html', 'text/html'),
    '/monitor.css': ('monitor.css', 'text/css'),
    '/monitor.js': ('monitor.js', 'text/javascript'),
    '/timeline.js': ('timeline.js', 'text/javascript'),
    '/icon.svg': ('icon.svg', 'image/svg+xml'),
}
"""All paths that are served."""
SOCKET = '/live'
MOST_VIEWERS = 8
PERIOD_S = 0.2
PATIENCE_S = 5.0
"""Longest wait for a viewer's acknowledgement."""
MOST_REQUEST = 1024
"""Longest message of a viewer, bytes."""


@dataclass(eq=False)
class _Viewer:
    """One open page."""

    socket: web.WebSocketResponse
    state: ViewerState = field(default_factory=ViewerState)
    picture: bool = True
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    seen: asyncio.Event = field(default_factory=asyncio.Event)


class Server:
    """
    Serves until stopped, on the running event loop.

    :param state: what is shown
    :param on_watch: called with the cameras that viewers look at
    :param pictures: whether pictures were asked for
    :raises InputError: aiohttp is missing
    """

    def __init__(
        self, state: GraphState, guard: Guard, *, on_watch: Callable[[frozenset[str]], None],
        pictures: bool,
    ) -> None:
        try:
            from aiohttp import web
        except ImportError:
            raise InputError(
                "the web server is not installed: pip install 'aitable_ros[monitor]'") from None
        self._web = web
        self._state = state
        self._guard = guard
        self._on_watch = on_watch
        self._has_pictures = pictures
        self._viewers: set[_Viewer] = set()
        self._pictures: dict[str, Picture] = {}
        self._fresh = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """
        Begin to serve.

        :return: the port, which the system chooses where 0 was asked for
        :raises InputError: it cannot be bound
        """
        web = self._web

        @web.middleware  # type: ignore[misc, untyped-decorator, unused-ignore]
        async def admit(request: Any, handler: Any) -> Any:
            if not self._guard.admits(request.headers.get('Host')):
                raise web.HTTPForbidden(
                    text='This server is not called by that name (Host header).\n')
            return await handler(request)

        app = web.Application(middlewares=[admit])
        folder = files('aitable_ros.monitor') / 'page'
        for path, (name, kind) in PAGES.items():
            app.router.add_get(
                path, partial(self._page, (folder / name).read_bytes(), kind))
        app.router.add_get(SOCKET, self._live)
        app.on_response_prepare.append(self._add_headers)
        app.on_shutdown.append(self._send_away)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self.stop()
            raise InputError(
                f'cannot serve on {host} port {port} ({error.strerror or error}): choose another '
                'with --port or --host') from None
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Disconnect the viewers and free the port. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def show(self, camera: str, picture: Picture) -> None:
        """Take in a picture; callable from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take, camera, picture)

    def _take(self, camera: str, picture: Picture) -> None:
        self._pictures[camera] = picture
        self._fresh.set()
        self._fresh = asyncio.Event()

    # Requests

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)
        response.headers.pop('Server', None)

    async def _page(self, body: bytes, kind: str, request: web.Request) -> web.Response:
        return self._web.Response(body=body, content_type=kind, charset='utf-8')

    async def _live(self, request: web.Request) -> web.StreamResponse:
        web = self._web
        if not self._guard.same_origin(request.headers.get('Origin'), request.headers.get('Host')):
            raise web.HTTPForbidden(text='Another site asks for this.\n')
        if len(self._viewers) >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f'{MOST_VIEWERS} viewers are here already.\n')
        socket = web.WebSocketResponse(max_msg_size=MOST_REQUEST, compress=False, timeout=1.0)
        viewer = _Viewer(socket)
        self._viewers.add(viewer)  # before anything is awaited: the limit holds
        try:
            await socket.prepare(request)
            await self._serve(viewer, request)
        finally:
            self._viewers.discard(viewer)
            self._tell_watched()
        return socket

    async def _serve(self, viewer: _Viewer, request: web.Request) -> None:
        tasks = [
            asyncio.ensure_future(work) for work in (
                self._listen(viewer), self._tell(viewer), self._show(viewer))]
        try:
            # Whichever ends first - the viewer leaves, or does not answer - ends the others.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not viewer.socket.closed and request.transport is not None:
                request.transport.abort()  # a close would wait behind what is stuck

    async def _listen(self, viewer: _Viewer) -> None:
        async for message in viewer.socket:
            if message.type is not self._web.WSMsgType.TEXT or not self._understood(
                    viewer, message.data):
                return

    def _understood(self, viewer: _Viewer, text: str) -> bool:
        """Take in a viewer's message: an acknowledgement, or the camera it wants to see."""
        if text == 'heard':
            viewer.heard.set()
            return True
        if text == 'seen':
            viewer.seen.set()
            return True
        try:
            wish = json.loads(text)
            camera, picture = wish['camera'], wish['picture']
        except (ValueError, TypeError, LookupError):
            return False
        if not isinstance(camera, str) or not isinstance(picture, bool):
            return False
        viewer.state = ViewerState(camera=camera, chosen=bool(camera))
        viewer.picture = picture
        self._tell_watched()
        return True

    async def _tell(self, viewer: _Viewer) -> None:
        """Send the data a few times a second."""
        while True:
            watched = viewer.state.camera
            message = {**self._state.payload(viewer.state), 'pictures': self._has_pictures}
            if viewer.state.camera != watched:
                self._tell_watched()
            viewer.heard.clear()
            await asyncio.wait_for(viewer.socket.send_str(
                json.dumps(message, separators=(',', ':'), allow_nan=False)), PATIENCE_S)
            await asyncio.gather(
                asyncio.wait_for(viewer.heard.wait(), PATIENCE_S), asyncio.sleep(PERIOD_S))

    async def _show(self, viewer: _Viewer) -> None:
        """Send the newest picture whenever there is one that the viewer has not seen."""
        shown: Picture | None = None
        while True:
            fresh = self._fresh
            picture = self._pictures.get(viewer.state.camera)
            if picture is None or picture is shown or not viewer.picture:
                await fresh.wait()
                continue
            shown = picture
            viewer.seen.clear()
            await asyncio.wait_for(viewer.socket.send_bytes(picture.data), PATIENCE_S)
            await asyncio.wait_for(viewer.seen.wait(), PATIENCE_S)

    def _tell_watched(self) -> None:
        watched = frozenset(
            viewer.state.camera for viewer in self._viewers
            if viewer.picture and viewer.state.camera)
        for camera in set(self._pictures) - watched:
            del self._pictures[camera]  # the next viewer must not get an old one
        self._on_watch(watched)

    async def _send_away(self, app: web.Application) -> None:
        for viewer in list(self._viewers):
            with suppress(Exception):
                await asyncio.wait_for(viewer.socket.close(code=1001), 1.0)
