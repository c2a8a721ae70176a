# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The monitor beside a real graph, seen through a real browser, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
import contextlib
import importlib.util
import json
from pathlib import Path
import re
import signal
import socket
import subprocess
import sys
import time
from typing import Any
import urllib.error
import urllib.request

from chromium import Browser, chromium
from patience import PATIENT_S
import pytest

from aitable_ros.tools.child_process import Child

MISSING = importlib.util.find_spec('aiohttp') is None
needs_server = pytest.mark.skipif(
    MISSING, reason="aiohttp is not installed here: pip install 'aitable_ros[monitor]'")
needs_browser = pytest.mark.skipif(
    MISSING or chromium() is None, reason='no Chromium, or no aiohttp, is installed here')
AITABLE = [sys.executable, '-m', 'aitable_ros']
QUICK = Path(__file__).parent / 'data' / 'quick.yaml'
ADDRESS = re.compile(r'http://\S+:(\d+)')


def wait(condition: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


class Monitor:
    """``aitable monitor`` on a free port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.child = Child(
            'monitor', [*AITABLE, 'monitor', '--port', '0', *arguments], folder / 'monitor.log')
        found = wait(lambda: ADDRESS.search(self.child.log.read_text()), PATIENT_S)
        assert found, self.child.last_output()
        self.port = int(found[1])
        self.url = f'http://127.0.0.1:{self.port}'

    def get(self, path: str, **headers: str) -> tuple[int, Any, bytes]:
        request = urllib.request.Request(f'{self.url}{path}', headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENT_S) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()


@pytest.fixture(scope='module')
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    """A monitor with no graph beside it."""
    monitor = Monitor(tmp_path_factory.mktemp('quiet'), '--namespace', 'nobody')
    yield monitor
    assert monitor.child.end() == 0, monitor.child.last_output()


# What it serves, and to whom

@needs_server
def test_every_answer_forbids_what_is_not_our_own(quiet):
    for path in ('/', '/monitor.js', '/timeline.js', '/monitor.css', '/icon.svg', '/nothing'):
        status, headers, body = quiet.get(path)
        assert status == (404 if path == '/nothing' else 200), path
        assert headers['Content-Security-Policy'].startswith("default-src 'self';")
        assert headers['X-Content-Type-Options'] == 'nosniff'
        assert headers['Cache-Control'] == 'no-store'
        assert 'Access-Control-Allow-Origin' not in headers
        assert not re.search(
            rb'(?:src|href)="(?!/)|url\(|@import|https?://(?!www\.w3\.org/2000)', body)


@needs_server
@pytest.mark.parametrize('path', [
    '/../setup.py', '/%2e%2e/setup.py', '/page/index.html', '/monitor.js/..%2f..%2fserver.py',
    '/?file=/etc/passwd'])
def test_no_path_leads_anywhere_else(quiet, path):
    status, _, body = quiet.get(path)
    assert status == 404 or body == quiet.get('/')[2]
    assert b'root:' not in body


@needs_server
def test_a_name_of_somebody_elses_is_refused(quiet):
    assert quiet.get('/', Host='evil.example')[0] == 403
    assert quiet.get('/live', Host='evil.example:80')[0] == 403
    assert quiet.get('/', Host=f'localhost:{quiet.port}')[0] == 200


@needs_server
@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'OPTIONS'])
def test_nothing_can_be_sent(quiet, method):
    request = urllib.request.Request(quiet.url + '/', data=b'x', method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=PATIENT_S)
    assert refused.value.code == 405


def talk(monitor: Monitor, work: Callable[[Any], Any]) -> Any:
    async def session() -> Any:
        import aiohttp

        async with aiohttp.ClientSession() as client:
            return await asyncio.wait_for(work(client), 30)
    return asyncio.run(session())


@needs_server
def test_another_sites_page_cannot_open_the_socket(quiet):
    async def open_from_elsewhere(client):
        import aiohttp

        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(f'{quiet.url}/live', origin='http://evil.example')
        return refused.value.status
    assert talk(quiet, open_from_elsewhere) == 403


@needs_server
def test_the_ninth_viewer_waits_until_one_leaves(quiet):
    async def crowd(client):
        import aiohttp

        here = [await client.ws_connect(f'{quiet.url}/live') for _ in range(8)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(f'{quiet.url}/live')
        await here[0].close()
        await asyncio.sleep(0.2)
        late = await client.ws_connect(f'{quiet.url}/live')
        told = json.loads((await late.receive()).data)
        for one in (*here, late):
            await one.close()
        return refused.value.status, told
    status, told = talk(quiet, crowd)
    assert status == 503
    assert [one['name'] for one in told['cameras']] == ['/nobody']
    assert told['camera']['silent_s'] is None


@needs_server
@pytest.mark.parametrize('words', [
    'hello', '[]', '{"camera": 1, "picture": true}', '{"camera": "/x"}', b'\0', 'x' * 5000],
    ids=['text', 'list', 'type', 'incomplete', 'binary', 'long'])
def test_who_says_something_else_is_sent_away(quiet, words):
    async def say(client):
        import aiohttp

        viewer = await client.ws_connect(f'{quiet.url}/live', autoclose=False)
        await (viewer.send_bytes if isinstance(words, bytes) else viewer.send_str)(words)
        while True:
            message = await viewer.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                return message.type.name
    assert talk(quiet, say) in ('CLOSE', 'CLOSED', 'ERROR')
    assert quiet.get('/')[0] == 200


@needs_server
def test_a_viewer_that_does_not_acknowledge_gets_no_more_and_is_dropped(quiet):
    async def stare(client):
        import aiohttp

        viewer = await client.ws_connect(f'{quiet.url}/live')
        got = []
        while (message := await viewer.receive()).type is aiohttp.WSMsgType.TEXT:
            got.append(message.data)
        return len(got)
    begun = time.monotonic()
    assert talk(quiet, stare) == 1
    assert time.monotonic() - begun > 4


# How it starts and ends

def command(*arguments: str, code: str = '') -> subprocess.CompletedProcess[str]:
    start = [sys.executable, '-c', code] if code else AITABLE
    return subprocess.run(
        [*start, 'monitor', *arguments], capture_output=True, text=True, timeout=PATIENT_S)


@needs_server
def test_a_port_in_use_is_one_line(quiet):
    done = command('--port', str(quiet.port))
    assert done.returncode == 2
    assert re.fullmatch(
        rf'aitable monitor: cannot serve on 127.0.0.1 port {quiet.port} \(.*\): choose another '
        'with --port or --host\n', done.stderr)


@needs_server
def test_a_host_that_is_not_ours_is_one_line():
    done = command('--port', '0', '--host', '203.0.113.7')
    assert (done.returncode, done.stderr.count('\n')) == (2, 1)


def test_a_port_that_is_none_is_one_line():
    done = command('--port', '70000')
    assert (done.returncode, done.stderr) == (
        2, 'aitable monitor: --port takes 0 to 65535, not 70000\n')


def test_without_the_extra_it_says_what_to_install():
    done = command('--port', '0', code="""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'aiohttp':
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from aitable_ros.nodes import environment
environment.prepare = lambda: None  # it would start anew without the line above
from aitable_ros.cli import main
sys.exit(main(sys.argv[1:]))
""")
    assert (done.returncode, done.stderr) == (
        2, "aitable monitor: the web server is not installed: pip install "
        "'aitable_ros[monitor]'\n")


@needs_server
def test_leaving_loopback_warns(tmp_path):
    monitor = Monitor(tmp_path, '--host', '0.0.0.0')
    try:
        assert 'WARNING: serving on 0.0.0.0' in monitor.child.log.read_text()
        assert monitor.get('/', Host='robot.evil.example')[0] == 403
        assert monitor.get('/')[0] == 200
    finally:
        assert monitor.child.end() == 0


@needs_server
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_zero_and_gives_the_port_back_while_somebody_looks(tmp_path, number):
    monitor = Monitor(tmp_path, '--namespace', 'nobody')
    with socket.create_connection(('127.0.0.1', monitor.port)) as viewer:
        viewer.sendall(
            b'GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n'
            b'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
            b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
        assert viewer.recv(12) == b'HTTP/1.1 101'
        monitor.child.process.send_signal(number)
        assert monitor.child.process.wait(PATIENT_S) == 0, monitor.child.last_output()
    assert 'Traceback' not in monitor.child.log.read_text()


# Beside a real graph, through a real browser

class Robot:
    """The pipeline in a process, and a camera in another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.alive: list[Child] = []

    def nodes(self) -> Child:
        return self._start('pipeline', [
            *AITABLE, 'run', '--image', 'camera/image_raw', '--params-file', str(QUICK),
            '--ros-args', '-r', '__ns:=/chooser'])

    def camera(self, *arguments: str) -> Child:
        return self._start('camera', [
            sys.executable, '-m', 'aitable_ros.tools.camera', '--namespace', '/chooser', '--wait',
            '60', *arguments])

    def _start(self, name: str, words: list[str]) -> Child:
        child = Child(name, words, self.folder / f'{name}{len(self.alive)}.log')
        self.alive.append(child)
        return child

    def close(self) -> None:
        for child in self.alive:
            child.end()


@pytest.fixture
def empty_room(tmp_path: Path) -> Path:
    """Return six seconds of nobody; a person is lost after one."""
    from films import write_film
    import numpy as np

    return write_film(tmp_path / 'nobody.mp4', [np.full((360, 640, 3), 90, np.uint8)] * 120, 20)


PERSON = "document.querySelector('.person')"
TEXT = 'document.body.innerText'


@needs_browser
@pytest.mark.slow
def test_the_operator_sees_what_happens(tmp_path, models, empty_room):
    """Nothing, then a person, then an empty room, then a dead graph, then the graph again."""
    with contextlib.ExitStack() as opened:
        monitor = Monitor(tmp_path, '--image')
        opened.callback(monitor.child.end)
        browser = Browser(tmp_path)
        opened.callback(browser.close)
        browser.go(monitor.url)
        browser.until(f"{TEXT}.includes('No pipeline found')")

        robot = Robot(tmp_path)
        opened.callback(robot.close)
        nodes = robot.nodes()
        browser.until("document.querySelector('#cameras').innerText.includes('/chooser')")
        robot.camera('--seconds', '300', '--size', 'vga', '--fps', '20')
        browser.until(f"{PERSON} && document.querySelector('#link').dataset.state === 'live'")
        browser.until(
            f"/^\\d+ %$|^SHUT/.test({PERSON}.querySelector('[data-of=eyes] .value').innerText)")
        assert re.search(r'warming up: \d+\sof\s30\ss', browser.js(TEXT))
        assert browser.js(f'{PERSON}.dataset.level') == 'UNKNOWN'
        # a picture, with its box
        assert browser.until("""(() => {
            const canvas = document.querySelector('#picture');
            const data = canvas.getContext('2d').getImageData(
                0, 0, canvas.width, canvas.height).data;
            let lit = 0, level = 0;
            for (let i = 0; i < data.length; i += 4) {
              lit += data[i] > 60;
              level += data[i] === 163 && data[i + 1] === 173 && data[i + 2] === 186;
            }
            return lit > 10000 && level > 100;
        })()""")
        # a line in the timeline
        assert browser.until(f"""(() => {{
            const canvas = {PERSON}.querySelector('canvas');
            const data = canvas.getContext('2d').getImageData(
                canvas.width - 60, 0, 60, canvas.height).data;
            return data.filter((value, index) => index % 4 === 3 && value === 255).length > 60;
        }})()""")
        running = browser.js("document.querySelector('#running tbody').innerText")
        for word in ('faces', 'blazeface', 'eyes', 'facemesh', 'expression', 'fer'):
            assert word in running
        browser.until(
            "document.querySelectorAll('#diagnostics .state[data-level=\"0\"]').length >= 3")

        # the film of nobody: the person disappears, first marked, then gone
        robot.alive[1].end()
        robot.camera('--input', str(empty_room))
        browser.until(
            f"{TEXT}.includes('not seen for') || {TEXT}.includes('Nobody to see')")

        # no camera, then no nodes
        browser.until("document.querySelector('#alarm').innerText.includes('No messages for')")
        assert browser.js("document.querySelector('main').classList.contains('stale')")
        assert nodes.end() == 0
        browser.until("""document.querySelector('#alarm').innerText.includes(
            'The nodes are silent, too')""")

        # all of it again
        robot.nodes()
        robot.camera('--seconds', '300', '--size', 'vga', '--fps', '20')
        browser.until(
            "document.querySelector('#link').dataset.state === 'live'"
            " && document.querySelector('#alarm').hidden"
            " && document.querySelectorAll('.person:not(.away)').length === 1")

        assert {url.replace('ws:', 'http:').removeprefix(monitor.url) for url in browser.requests
                if not url.startswith('about:')} == {
            '/', '/monitor.css', '/monitor.js', '/timeline.js', '/icon.svg', '/live'}
        # but for what it thinks of this test's reading its canvas
        assert [one for one in browser.complaints if 'willReadFrequently' not in one
                and not one.startswith('Canvas2D')] == []
        # and the monitor itself
        assert monitor.child.end() == 0
        browser.until(f"{TEXT}.includes('The monitor does not answer')")


@needs_browser
def test_nothing_sticks_out_of_the_window(tmp_path, quiet):
    browser = Browser(tmp_path)
    try:
        for width, height in ((1440, 900), (900, 700), (390, 844)):
            browser.look(width, height, dark=True)
            browser.go(quiet.url)
            browser.until(f"{TEXT}.includes('/nobody: no message yet')")
            assert browser.js('innerWidth') == width
            assert browser.js('document.documentElement.scrollWidth <= innerWidth'), width
        assert browser.complaints == []
    finally:
        browser.close()
