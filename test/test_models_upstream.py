# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The user's own download of EmoNet: a real HTTP server on 127.0.0.1 does all that servers do."""

from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import os
from pathlib import Path
import pty
import re
import signal
import subprocess
import sys
import threading
import time

from patience import PATIENT_S
import pytest

from aitable_ros.cli import main
from aitable_ros.errors import InputError
from aitable_ros.models import catalogue
from aitable_ros.models import download as module
from aitable_ros.models.catalogue import CATALOGUE
from aitable_ros.models.download import _redirects, _Refused, download, git_blob, Patience

ROOT = Path(__file__).resolve().parent.parent
CONTENT = bytes(range(256)) * 1200  # 307,200 bytes
BLOB = sha1(b'blob 307200\0' + CONTENT, usedforsecurity=False).hexdigest()
HALF = len(CONTENT) // 2
QUICK = Patience(stall_s=0.3, least_bytes=64, tries=3, wait_s=0.01, longest_wait_s=0.05)
NAME = 'emonet_8.pth'


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch, tmp_path):
    """Let nothing reach the real host: all but loopback goes to a proxy that is not there."""
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.setenv(name, '127.0.0.1')
    monkeypatch.delenv('AITABLE_MODELS_URL', raising=False)
    monkeypatch.setenv('AITABLE_MODELS', str(tmp_path / 'home'))


class Request:
    """One request and the means to answer it badly."""

    def __init__(self, handler):
        self.handler = handler
        self.path = handler.path
        asked = re.fullmatch(r'bytes=(\d+)-', handler.headers.get('Range', ''))
        self.start = int(asked[1]) if asked else None

    def answer(self, body=b'', *, status=200, length=None, **headers):
        handler = self.handler
        handler.send_response(status)
        headers = {key.replace('_', '-'): value for key, value in headers.items()}
        if length != 'none':
            headers.setdefault('Content-Length', str(len(body) if length is None else length))
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()

    def serve(self, content=CONTENT, **options):
        """As a good server does, Range and all."""
        if self.start is None:
            return self.answer(content, **options)
        if self.start >= len(content):
            return self.answer(status=416, Content_Range=f'bytes */{len(content)}')
        return self.answer(
            content[self.start:], status=206,
            Content_Range=f'bytes {self.start}-{len(content) - 1}/{len(content)}', **options)

    def cut(self, start, end):
        """Serve from start as if to the end of the file, and cut off at end."""
        headers = {'length': len(CONTENT) - start}
        if start:
            headers |= {'status': 206, 'Content_Range':
                        f'bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}'}
        self.answer(CONTENT[start:end], **headers)

    def wait(self, seconds=20):
        """Keep the connection open until the client leaves it."""
        self.handler.connection.settimeout(seconds)
        with suppress(TimeoutError):
            self.handler.connection.recv(1)


class Web:
    """A server whose n-th request is answered by the n-th of some functions, the last repeated."""

    def __init__(self, *answers):
        self.requests = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                request = Request(self)
                web.requests.append(request)
                with suppress(BrokenPipeError, ConnectionResetError):
                    answers[min(len(web.requests), len(answers)) - 1](request)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.folder = f'http://127.0.0.1:{self.server.server_port}'
        self.url = f'{self.folder}/{NAME}'

    @property
    def starts(self):
        return [request.start for request in self.requests]


@contextmanager
def serving(*answers):
    web = Web(*answers)
    thread = threading.Thread(target=web.server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    try:
        yield web
    finally:
        web.server.shutdown()
        thread.join()
        web.server.server_close()


def good(request):
    request.serve()


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def trickle(request):
    request.answer(CONTENT[:1000], length=len(CONTENT))
    for at in range(1000, 1100):
        request.handler.wfile.write(CONTENT[at:at + 1])
        request.handler.wfile.flush()
        time.sleep(0.05)


RECOVER = {
    'a good server': ([good], [None]),
    'cut off, then resumed': ([lambda r: r.cut(0, HALF), good], [None, HALF]),
    'cut off again and again': (
        [lambda r: r.cut(r.start or 0, (r.start or 0) + 50_000)], list(range(0, 300_001, 50_000))),
    'stalls in the middle': (
        [lambda r: (r.answer(CONTENT[:HALF], length=len(CONTENT)), r.wait()), good], [None, HALF]),
    'stalls before it answers': ([lambda r: r.wait(), good], [None, None]),
    'drips': ([trickle, good], [None, ...]),
    'closes without an answer': ([lambda r: None, good], [None, None]),
    'speaks another protocol': (
        [lambda r: r.handler.wfile.write(b'SSH-2.0-dropbear\r\n'), good], [None, None]),
    'ignores the wish to resume': (
        [lambda r: r.cut(0, HALF), lambda r: r.answer(CONTENT)], [None, HALF]),
    'resumes somewhere else': (
        [lambda r: r.cut(0, HALF),
         lambda r: r.answer(CONTENT[100:], status=206, Content_Range='bytes 100-307199/307200'),
         good], [None, HALF, None]),
    'resumes without saying where': (
        [lambda r: r.cut(0, HALF), lambda r: r.answer(CONTENT[HALF:], status=206), good],
        [None, HALF, None]),
    'does not say how much it sends': ([lambda r: r.answer(CONTENT, length='none')], [None]),
    'is broken for a while': (
        [lambda r: r.answer(b'oh', status=500), lambda r: r.answer(status=503, Retry_After='9'),
         good], [None, None, None]),
    'had another file before': (
        [lambda r: r.cut(0, HALF), lambda r: r.serve(CONTENT[::-1]), good], [None, HALF, None]),
}


@pytest.mark.parametrize('case', RECOVER)
def test_arrives_whole(case, tmp_path):
    answers, starts = RECOVER[case]
    path = tmp_path / 'new folder' / NAME
    with serving(*answers) as web:
        assert download(web.url, path, BLOB, patience=QUICK) == path
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == [NAME]
    assert [got if want is not ... else ... for got, want in zip(web.starts, starts)] == [
        start or None if start is not ... else ... for start in starts]
    assert len(web.starts) == len(starts)


def moved(where, status=302):
    return lambda request: request.answer(status=status, Location=where)


REFUSE = {
    'not found': ([lambda r: r.answer(b'x', status=404)], 'it answers 404 Not Found', 1),
    'forbidden': ([lambda r: r.answer(b'x', status=403)], 'it answers 403 Forbidden', 1),
    'a web page': (
        [lambda r: r.answer(b'<html>log in</html>', Content_Type='text/html; charset=utf-8')],
        'a web page', 1),
    'another file': ([lambda r: r.serve(CONTENT[::-1])], 'not the pinned file', 1),
    'one bit less': (
        [lambda r: r.serve(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))], 'not the pinned file', 1),
    'a file that is too short': ([lambda r: r.answer(CONTENT[:-1])], 'not the pinned file', 1),
    'nothing': ([lambda r: r.answer(b'')], 'not the pinned file', 1),
    'more than any model has': (
        [lambda r: r.answer(b'', length=1 << 40)], '1099511627776 bytes', 1),
    'is always broken': ([lambda r: r.answer(status=500)], '500 Internal Server Error (3 times', 3),
    'always stalls': (
        [lambda r: (r.answer(CONTENT[:9], length=len(CONTENT)), r.wait())],
        'nothing more came for 0.3 s (3 times', 3),
    'cuts off at the same place and cannot resume': (
        [lambda r: r.cut(0, HALF)], f'cut off after {HALF} of {len(CONTENT)} bytes', 4),
    'completes what it cut off with something else, for ever': (
        [lambda r: r.cut(0, HALF) if r.start is None else r.serve(CONTENT[::-1])],
        'not the pinned file', 4),
    'says for ever that there is no more': (
        [lambda r: r.cut(0, HALF) if r.start is None else r.answer(status=416)], '416', 4),
    'redirects in circles': ([moved(f'/{NAME}')], 'it answers 302', None),
    'redirects to a file': ([moved('file:///etc/passwd')], 'it answers 302', 1),
    'redirects to another protocol': ([moved('ftp://127.0.0.1/x')], 'which is not http', 1),
}


@pytest.mark.parametrize('case', REFUSE)
def test_is_told_in_a_line_and_leaves_what_was_there(case, tmp_path):
    answers, reason, requests = REFUSE[case]
    path = tmp_path / NAME
    path.write_bytes(b'old')
    with serving(*answers) as web, pytest.raises(InputError) as error:
        download(web.url, path, BLOB, patience=QUICK)
    message = str(error.value)
    assert reason in message
    assert message.startswith(f'cannot download {NAME} from http://127.0.0.1:')
    assert '\n' not in message
    assert requests in (None, len(web.requests))
    assert path.read_bytes() == b'old'
    assert set(names(tmp_path)) <= {NAME, f'.{NAME}.part'}


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_redirects_are_followed_with_the_range(status, tmp_path):
    def where(request):
        if request.path != '/there':
            return request.answer(status=status, Location='/there')
        return request.cut(0, HALF) if request.start is None else request.serve()

    with serving(where) as web:
        download(web.url, tmp_path / NAME, BLOB, patience=QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [(r.path, r.start) for r in web.requests] == [
        (f'/{NAME}', None), ('/there', None), (f'/{NAME}', HALF), ('/there', HALF)]


@pytest.mark.parametrize(('before', 'after', 'followed'), [
    ('https://a.example/x', 'https://b.example/x', True),
    ('http://a.example/x', 'https://b.example/x', True),
    ('http://a.example/x', 'http://b.example/x', True),
    ('https://a.example/x', 'http://b.example/x', False),
    ('https://a.example/x', 'http://127.0.0.1:80/x', True),
    ('https://a.example/x', 'http://127.0.0.1.example/x', False),
    ('https://a.example/x', 'gopher://b.example/x', False),
])
def test_no_redirect_leaves_encryption_but_to_this_machine(before, after, followed):
    from urllib.request import Request as UrlRequest

    def redirect():
        return _redirects()().redirect_request(UrlRequest(before), None, 302, 'Found', {}, after)

    if followed:
        assert redirect().full_url == after
    else:
        with pytest.raises(_Refused):
            redirect()


@pytest.mark.parametrize('url', [
    'file:///etc/passwd', 'emonet_8.pth', 'ftp://127.0.0.1/x', 'https://', 'http://[::1', ''])
def test_only_web_addresses_are_opened(url, tmp_path):
    with pytest.raises(InputError, match='not an http:// or https:// address'):
        download(url, tmp_path / NAME, BLOB)


@pytest.mark.parametrize('url', ['http://127.0.0.1:9/x', 'http://127.0.0.1:1/a b'])
def test_a_host_that_is_not_there_is_told(url, tmp_path):
    with pytest.raises(InputError, match='cannot download'):
        download(url, tmp_path / NAME, BLOB, patience=QUICK)
    assert names(tmp_path) == []


def test_a_whole_part_left_by_a_crash_is_taken_without_asking(tmp_path):
    (tmp_path / f'.{NAME}.part').write_bytes(CONTENT)
    download('http://127.0.0.1:9/', tmp_path / NAME, BLOB, patience=QUICK)
    assert names(tmp_path) == [NAME]


def test_progress_counts_what_was_there_before(tmp_path):
    seen = []
    (tmp_path / f'.{NAME}.part').write_bytes(CONTENT[:HALF])
    with serving(good) as web:
        download(web.url, tmp_path / NAME, BLOB, lambda *args: seen.append(args), QUICK)
    assert seen[-1] == (NAME, len(CONTENT), len(CONTENT))
    assert seen[0][1] > HALF
    assert web.starts == [HALF]


def test_a_place_that_cannot_be_written_is_told():
    with serving(good) as web, pytest.raises(InputError, match='cannot write /proc/aitable'):
        download(web.url, Path('/proc/aitable') / NAME, BLOB, patience=QUICK)


def test_a_full_disk_is_told(tmp_path):
    code = ('import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n'
            'import sys; from pathlib import Path; from aitable_ros.models.download import *\n'
            'try: download(sys.argv[1], Path(sys.argv[2]), sys.argv[3])\n'
            'except ValueError as error: print(error)')
    with serving(good) as web:
        result = subprocess.run(
            [sys.executable, '-c', code, web.url, tmp_path / NAME, BLOB], cwd=ROOT, text=True,
            capture_output=True, timeout=PATIENT_S, check=True)
    assert result.stdout.startswith(f'cannot write {tmp_path / NAME}: File too large')
    assert NAME not in names(tmp_path)


# --- the command


@pytest.fixture
def pinned(monkeypatch):
    """Let emonet_8 be our small file."""
    card = CATALOGUE['emonet_8']
    fake = replace(card, upstream=replace(card.upstream, git_blob=BLOB))
    monkeypatch.setitem(catalogue.CATALOGUE, 'emonet_8', fake)
    monkeypatch.setattr(module, 'Patience', lambda **limits: QUICK)


@pytest.fixture
def home(tmp_path):
    return tmp_path / 'home'


def test_fetch_downloads_to_where_a_chain_finds_it(pinned, home, capsys, monkeypatch):
    with serving(good) as web:
        assert main(['models', 'fetch', 'emonet_8', '--accept-licence', '--url', web.url]) == 0
    assert capsys.readouterr().out == f'emonet_8: {home / NAME}\n'
    assert names(home) == ['.lock', NAME]
    # what is there is neither asked about nor downloaded again
    assert main(['models', 'fetch', 'emonet_8', '--json']) == 0
    assert json.loads(capsys.readouterr().out) == {'emonet_8': str(home / NAME)}
    assert main(['models', 'list', '--json']) == 0
    rows = {row['name']: row for row in json.loads(capsys.readouterr().out)['models']}
    assert rows['emonet_8']['state'] == 'fetched'
    # unless it is broken
    (home / NAME).write_bytes(b'broken')
    with serving(good) as web:
        monkeypatch.setenv('AITABLE_MODELS_URL', f'{web.folder}/mirror/')
        assert main(['models', 'fetch', 'emonet_8', '--accept-licence']) == 0
    assert [request.path for request in web.requests] == [f'/mirror/{NAME}']
    assert (home / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize('name', ['emonet_8', 'emonet_5', 'hsemotion_b0', 'hsemotion_b2'])
def test_the_real_pins_refuse_a_fake(name, home, capsys, monkeypatch):
    with serving(good) as web:
        arguments = ['models', 'fetch', name, '--accept-licence', '--url', web.url]
        assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert err.count('\n') == 1
    assert 'not the pinned file' in err
    assert names(home) == ['.lock']


def test_the_pins_are_those_of_the_design():
    blobs = {name: card.upstream.git_blob for name, card in CATALOGUE.items() if card.upstream}
    assert blobs == {'emonet_8': '6833bfdcf8fc761deb7630256a750cf1f7c850c1',
                     'emonet_5': '61358cb3ea0fe410c01ee4ffff5ed1b49713af98',
                     'hsemotion_b0': '7ce9d6dd5b82b260bc19bfe7822a6ffa1abb6011',
                     'hsemotion_mbf': '194db927ec135679e5cd0a267c5605e2e9d68e7e',
                     'hsemotion_b2': 'a7cb612cbab1ce3d50dd52e57285fb2c7ea6d0d9'}
    for name in blobs:
        url = CATALOGUE[name].upstream.url
        assert url.startswith('https://')
        assert url.endswith((f'/pretrained/{name}.pth', '/onnx/enet_b0_8_va_mtl.onnx',
                             '/onnx/mbf_va_mtl.onnx', '/onnx/enet_b2_8.onnx'))


def test_an_onnx_file_of_its_authors_lies_where_its_name_is_looked_for(home, capsys, monkeypatch):
    card = CATALOGUE['hsemotion_mbf']
    fake = replace(card, upstream=replace(card.upstream, git_blob=BLOB))
    monkeypatch.setitem(catalogue.CATALOGUE, 'hsemotion_mbf', fake)
    assert main(['models', 'fetch', 'hsemotion_mbf']) == 2
    assert 'Apache-2.0, AffectNet, which is yours to accept' in capsys.readouterr().err
    assert 'trained on AffectNet' in card.upstream.terms
    assert 'non-commercial' in card.upstream.terms
    with serving(good) as web:
        monkeypatch.setenv('AITABLE_MODELS_URL', web.folder)
        assert main(['models', 'fetch', 'hsemotion_mbf', '--accept-licence']) == 0
    assert [request.path for request in web.requests] == ['/mbf_va_mtl.onnx']
    assert capsys.readouterr().out == f'hsemotion_mbf: {home / "hsemotion_mbf.onnx"}\n'
    assert (home / 'hsemotion_mbf.onnx').read_bytes() == CONTENT
    assert main(['models', 'export', 'hsemotion_mbf']) == 2
    assert 'hsemotion_mbf is not exported: run `aitable models fetch' in capsys.readouterr().err
    (home / 'hsemotion_mbf.onnx').unlink()
    assert main(['models', 'convert', 'hsemotion_mbf']) == 2
    assert 'comes as ONNX and is not converted' in capsys.readouterr().err


@pytest.mark.parametrize(('content', 'said'), [
    (b'', 'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'),
    (b'hello\n', 'ce013625030ba8dba906f756967f9e9ca394464a'),
])
def test_a_git_blob_is_what_git_says_it_is(content, said):
    """`git hash-object`, noted down: there may be no git where the tests run."""
    assert git_blob(content) == said


@pytest.mark.parametrize(('arguments', 'says'), [
    (['emonet_8'], '--accept-licence'),
    (['fer', 'emonet_5'], 'emonet_5 is under CC BY-NC-ND 4.0'),
    (['--url', 'http://127.0.0.1:9/x'], '--url goes with one NAME'),
    (['fer', '--url', 'http://127.0.0.1:9/x'], '--url goes with one NAME'),
    (['emonet_8', '--accept-licence', '--url', '/etc/passwd'], 'not an http:// or https://'),
])
def test_nobody_to_ask_is_told_before_anything_is_fetched(arguments, says, home):
    result = subprocess.run(
        [sys.executable, '-m', 'aitable_ros', 'models', 'fetch', *arguments], cwd=ROOT, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENT_S, check=False)
    assert (result.returncode, result.stdout, result.stderr.count('\n')) == (2, '', 1)
    assert says in result.stderr
    assert set(names(home)) <= {'.lock'}


@pytest.mark.parametrize(('answer', 'status'), [
    (b'y\n', 0), (b'YES\n', 0), (b'\n', 1), (b'n\n', 1), (b'\x04', 1)])
def test_the_licence_is_shown_and_asked_about_on_a_terminal(answer, status, home, tmp_path):
    code = ('import sys; from dataclasses import replace\n'
            'from aitable_ros.models.catalogue import CATALOGUE\n'
            'card = CATALOGUE["emonet_8"]\n'
            'CATALOGUE["emonet_8"] = replace(card, upstream=replace(card.upstream, '
            f'git_blob="{BLOB}"))\n'
            'from aitable_ros.cli import main; sys.exit(main(sys.argv[1:]))')
    with serving(good) as web:
        master, terminal = pty.openpty()
        child = subprocess.Popen(
            [sys.executable, '-c', code, 'models', 'fetch', 'emonet_8', '--url', web.url],
            cwd=ROOT, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.write(master, answer)
        out, err = child.communicate(timeout=PATIENT_S)
        os.close(terminal)
        os.close(master)
    assert child.returncode == status, err
    shown = err.decode()
    assert 'CC BY-NC-ND 4.0' in shown
    assert 'no commercial use' in shown
    assert 'https://creativecommons.org/licenses/by-nc-nd/4.0' in shown
    assert len(web.requests) == (1 if status == 0 else 0)
    assert (home / NAME).exists() == (status == 0)
    assert bool(out) == (status == 0)


def test_an_interrupted_download_is_resumed_by_the_next(pinned, home):
    def half(request):
        request.answer(CONTENT[:HALF], length=len(CONTENT))
        request.wait()

    with serving(half, good) as web:
        command = ['models', 'fetch', 'emonet_8', '--accept-licence', '--url', web.url]
        child = subprocess.Popen(
            [sys.executable, '-m', 'aitable_ros', *command], cwd=ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        part = home / f'.{NAME}.part'
        deadline = time.monotonic() + PATIENT_S
        while not (part.exists() and part.stat().st_size == HALF):
            assert time.monotonic() < deadline, 'nothing arrives'
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=PATIENT_S)
        assert (child.returncode, out, err.count('\n')) == (130, '', 1)
        assert names(home) == [part.name, '.lock']
        assert main(command) == 0
    assert web.starts == [None, HALF]
    assert (home / NAME).read_bytes() == CONTENT
    assert names(home) == ['.lock', NAME]


def test_two_processes_download_once(home, tmp_path):
    """The real pin refuses the file; that both ask in turn shows that they waited."""
    logs = [tmp_path / 'one.log', tmp_path / 'two.log']

    def waits():
        return [path for path in logs if 'waiting for another process' in path.read_text()]

    def once_the_other_waits(request):
        deadline = time.monotonic() + PATIENT_S
        while not waits() and time.monotonic() < deadline:
            time.sleep(0.02)
        request.serve()

    with serving(once_the_other_waits) as web:
        children = []
        for path in logs:
            with path.open('w') as log:
                children.append(subprocess.Popen(
                    [sys.executable, '-m', 'aitable_ros', 'models', 'fetch', 'emonet_8',
                     '--accept-licence', '--url', web.url], cwd=ROOT, stderr=log))
        statuses = [child.wait(PATIENT_S) for child in children]
    assert statuses == [2, 2]
    assert len(waits()) == 1
    assert all('not the pinned file' in path.read_text() for path in logs)
    assert len(web.requests) == 2
