# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium for the tests, spoken to over its DevTools protocol, without a driver."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
import shutil
import subprocess
from tempfile import TemporaryDirectory
import time
from typing import Any

from patience import PATIENT_S

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')
FLAGS = (
    '--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--hide-scrollbars',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--disable-default-apps', '--disable-extensions', '--remote-debugging-port=0')


def chromium() -> str | None:
    """Return the browser's path, where there is one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page of it. What it asks the network for, and what it complains of, is kept."""

    def __init__(self, folder: Path, width: int = 1440, height: int = 900) -> None:
        path = chromium()
        assert path
        profile = folder / 'chromium'
        self._log = (folder / 'chromium.log').open('wb')
        # Short, since the path of a socket in it may not be longer than 107 characters.
        self._scratch = TemporaryDirectory(prefix='cr', ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [path, *FLAGS, f'--user-data-dir={profile}', f'--window-size={width},{height}',
             'about:blank'], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
            env={**os.environ, 'TMPDIR': self._scratch.name})
        self._loop = asyncio.new_event_loop()
        self._number = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        try:
            self._run(self._attach(profile / 'DevToolsActivePort'))
        except BaseException:
            self.close()
            raise

    def _run(self, work: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(work, 60))

    async def _attach(self, port_file: Path) -> None:
        import aiohttp

        deadline = time.monotonic() + PATIENT_S
        while not port_file.is_file() or not port_file.read_text().count('\n'):
            assert self._process.poll() is None, 'Chromium ended'
            assert time.monotonic() < deadline, 'Chromium does not answer'
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f'http://127.0.0.1:{port}/json/list') as answer:
            page = next(one for one in await answer.json() if one['type'] == 'page')
        self._socket = await self._session.ws_connect(
            page['webSocketDebuggerUrl'], max_msg_size=1 << 26)
        for domain in ('Page', 'Network', 'Log', 'Runtime'):
            await self._call(f'{domain}.enable')

    async def _call(self, method: str, **params: Any) -> Any:
        self._number += 1
        number = self._number
        await self._socket.send_json({'id': number, 'method': method, 'params': params})
        while True:
            message = await self._socket.receive_json()
            if message.get('id') == number:
                assert 'error' not in message, message
                return message['result']
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get('method', ''), message.get('params', {})
        if method == 'Network.requestWillBeSent':
            self.requests.append(params['request']['url'])
        elif method == 'Network.webSocketCreated':
            self.requests.append(params['url'])
        elif method == 'Log.entryAdded':
            self.complaints.append(f'{params["entry"]["text"]} {params["entry"].get("url", "")}')
        elif method == 'Runtime.exceptionThrown':
            self.complaints.append(str(params['exceptionDetails']))
        elif method == 'Runtime.consoleAPICalled':
            self.complaints.append(str(params['args']))

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol."""
        return self._run(self._call(method, **params))

    def go(self, url: str) -> None:
        """Open an address."""
        self.call('Page.navigate', url=url)
        self.until("location.href !== 'about:blank' && document.readyState === 'complete'", 30)

    def js(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = self.call(
            'Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def until(self, expression: str, seconds: float = PATIENT_S) -> Any:
        """Return the value of an expression as soon as it is true."""
        deadline = time.monotonic() + seconds
        while not (value := self.js(expression)):
            assert time.monotonic() < deadline, (
                f'{expression} within {seconds} s; the page shows:\n'
                f'{self.js("document.documentElement.innerText")}')
            time.sleep(0.1)
        return value

    def look(self, width: int, height: int, *, dark: bool, touch: bool = False) -> None:
        """Become a window of another size and scheme."""
        self.call(
            'Emulation.setDeviceMetricsOverride', width=width, height=height,
            deviceScaleFactor=2 if touch else 1, mobile=touch)
        self.call('Emulation.setEmulatedMedia', features=[
            {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])

    def shot(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen, or the whole page."""
        result = self.call('Page.captureScreenshot', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(result['data']))

    def close(self) -> None:
        """End it. Idempotent."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if not self._loop.is_closed():
            session = getattr(self, '_session', None)
            if session is not None:
                self._loop.run_until_complete(session.close())
            self._loop.close()
        self._scratch.cleanup()
        self._log.close()
