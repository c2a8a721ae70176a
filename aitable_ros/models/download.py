# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Downloads one file over HTTP, resumes interrupted downloads, and checks the file's pinned hash.

Servers stall, cut off, redirect, ignore range requests and answer with web pages. The partial file
stays beside its destination until it is complete and has the right hash.

(The library pooch neither resumes a download nor knows git's hashes.)
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
import http.client
from pathlib import Path
import re
import ssl
import time
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from aitable_ros import __version__
from aitable_ros.errors import first_line, InputError
from aitable_ros.models.store import Progress, put_in_place, unwritable

LARGEST = 1 << 28
"""Most bytes of a download; no model here has a quarter of that."""
_CHUNK = 1 << 16
_BUSY = (408, 425, 429, 500, 502, 503, 504)
"""HTTP states that may pass."""
_LOOPBACK = ('localhost', '127.0.0.1', '::1')


@dataclass(frozen=True, slots=True)
class Patience:
    """
    Limits for a slow or failing server.

    :param stall_s: seconds without an answer that end a try
    :param least_bytes: fewer bytes within ``stall_s`` end a try, too
    :param tries: most tries in a row that bring nothing new
    :param wait_s: before the second try; doubles with each further one
    :param longest_wait_s: upper limit of a wait, also of the server's ``Retry-After``
    """

    stall_s: float = 20.0
    least_bytes: int = 4096
    tries: int = 5
    wait_s: float = 1.0
    longest_wait_s: float = 30.0


class _Passing(Exception):  # noqa: N818 -- not an error yet
    """A try failed for a reason that may pass; ``after_s`` is the wait the server asks for."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


def git_blob(content: bytes) -> str:
    """Return git's hash of a file's content, hexadecimal."""
    # git names content by SHA-1, so the pins are SHA-1, too; nothing is signed with it
    return sha1(b'blob %d\0' % len(content) + content, usedforsecurity=False).hexdigest()


def is_blob(path: Path, blob: str) -> bool:
    """Tell whether a file exists and has the given git hash."""
    try:
        return git_blob(path.read_bytes()) == blob
    except OSError:
        return False


def download(
    url: str, path: Path, blob: str, progress: Progress | None = None,
    patience: Patience | None = None,
) -> Path:
    """
    Download a file, or continue an interrupted download.

    :param url: ``https://`` or ``http://``; the hash is pinned, so a mirror may use http
    :param path: destination; an old file is kept until the new one is complete
    :param blob: git's hash of the file
    :param progress: called with the file's name, bytes done and total bytes (0: unknown)
    :raises InputError: the download failed, or the file has another hash; one line
    """
    return _Download(url, path, blob, progress, patience or Patience()).run()


class _Download:

    def __init__(
        self, url: str, path: Path, blob: str, progress: Progress | None, patience: Patience,
    ) -> None:
        if not _is_web_address(url):
            raise InputError(f'{url}: not an http:// or https:// address')
        self._url, self._path, self._blob = url, path, blob
        self._progress, self._patience = progress, patience
        self._part = path.with_name(f'.{path.name}.part')
        self._restarted = False

    def run(self) -> Path:
        failures = 0
        while not self._finished():
            before = self._size()
            try:
                self._try()
                continue
            except _Passing as passing:
                brought = self._size() - before >= self._patience.least_bytes
                failures = 0 if brought else failures + 1
                if failures >= self._patience.tries:
                    self._fail(f'{passing} ({failures} times in a row)',
                               'is this machine online, and is the address right?')
                wait = max(self._patience.wait_s * 2 ** max(failures - 1, 0), passing.after_s)
            time.sleep(min(wait, self._patience.longest_wait_s))
        return self._path

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _finished(self) -> bool:
        """Put the partial file in place if it is complete."""
        if not is_blob(self._part, self._blob):
            return False
        put_in_place(self._part, self._path)
        return True

    def _try(self) -> None:
        """Request the missing bytes, and check the hash of the result."""
        start = self._size()
        try:
            response = self._open(start)
        except HTTPError as error:
            with error:
                self._judge(error, start)
            return
        except _Refused as refused:
            self._fail(str(refused), 'look at the address')
        except (URLError, OSError, http.client.HTTPException) as error:
            self._judge_connection(error)
        with response:
            start, total = self._extent(response, start)
            page = response.headers.get_content_type() == 'text/html'
            if page or total > LARGEST:
                self._fail(
                    'it answers with a web page, not with the file' if page else
                    f'it claims {total} bytes, more than any model here has',
                    'is a login, licence or proxy page in between?' if page else
                    'look at the address')
            self._receive(response, start, total)
        if not is_blob(self._part, self._blob):
            self._discard(start > 0, 'its content is not the pinned file')

    def _discard(self, resumed: bool, reason: str) -> None:
        """Delete the partial file; after a resumed download, start over once."""
        self._part.unlink()
        if not resumed or self._restarted:
            self._fail(reason, f'the git blob hash of the file wanted is {self._blob[:12]}…; look '
                       'at the address')
        self._restarted = True

    def _open(self, start: int) -> Any:
        from urllib.request import build_opener, Request

        headers = {'User-Agent': f'aitable_ros/{__version__}', 'Accept-Encoding': 'identity'}
        if start:
            headers['Range'] = f'bytes={start}-'
        # only http and https: __init__ checks the first address, _redirects the others
        request = Request(self._url, headers=headers)  # noqa: S310
        return build_opener(_redirects()).open(request, timeout=self._patience.stall_s)

    def _judge(self, error: HTTPError, start: int) -> None:
        """Decide by an HTTP state whether to try again."""
        reason = f'it answers {error.code} {first_line(error.reason)}'
        if error.code == 416 and start:  # the partial file is as long as the file, but differs
            self._discard(True, reason)
            return
        if error.code in _BUSY:
            after = error.headers.get('Retry-After', '')
            raise _Passing(reason, float(after) if after.isdecimal() else 0.0)
        self._fail(reason, 'look at the address')

    def _judge_connection(self, error: Exception) -> NoReturn:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, http.client.InvalidURL):
            self._fail(first_line(reason), 'look at the address')
        if isinstance(reason, ssl.SSLCertVerificationError):
            self._fail(f'its certificate is not trusted: {reason.verify_message}',
                       "are this machine's clock and certificates right?")
        if isinstance(reason, TimeoutError):
            raise _Passing(f'no answer in {self._patience.stall_s:g} s')
        raise _Passing(getattr(reason, 'strerror', None) or first_line(reason))

    def _extent(self, response: Any, start: int) -> tuple[int, int]:
        """Return the offset of the answer, and the size of the whole file, 0 if unknown."""
        length = int(response.length or 0)
        if response.status != 206:
            return 0, length
        span = re.fullmatch(
            r'bytes (\d+)-\d+/(\d+|\*)', response.headers.get('Content-Range', '').strip())
        if not span or int(span[1]) != start:
            self._part.unlink(missing_ok=True)  # the offset is wrong: request the whole file
            raise _Passing('it resumes somewhere else than it was asked to')
        return start, int(span[2]) if span[2] != '*' else start + length if length else 0

    def _receive(self, response: Any, start: int, total: int) -> None:
        """Append to the partial file; raise if the server stalls or sends a wrong length."""
        done, mark, mark_at = start, start, time.monotonic()
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            with self._part.open('ab' if start else 'wb') as file:
                while chunk := self._chunk(response):
                    file.write(chunk)
                    done += len(chunk)
                    if done > (total or LARGEST):
                        file.truncate(0)
                        self._fail('it sends more than it said', 'look at the address')
                    if self._progress:
                        self._progress(self._path.name, done, total)
                    now = time.monotonic()
                    if now - mark_at > self._patience.stall_s:
                        if done - mark < self._patience.least_bytes:
                            raise _Passing(f'less than {self._patience.least_bytes} bytes in '
                                           f'{self._patience.stall_s:g} s')
                        mark, mark_at = done, now
        except OSError as error:
            raise unwritable(self._path, error) from error
        if done < total:
            raise _Passing(f'it cut off after {done} of {total} bytes')

    def _chunk(self, response: Any) -> bytes:
        try:
            # read1 returns the bytes that have arrived; read would wait for a full chunk
            return bytes(response.read1(_CHUNK))
        except TimeoutError:
            raise _Passing(f'nothing more came for {self._patience.stall_s:g} s') from None
        except (http.client.HTTPException, OSError) as error:
            raise _Passing(f'it cut off: {first_line(error)}') from None

    def _fail(self, reason: str, remedy: str) -> NoReturn:
        raise InputError(f'cannot download {self._path.name} from {self._url}: {reason}; {remedy}')


class _Refused(Exception):  # noqa: N818 -- becomes an InputError
    """A redirect that is not followed."""


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ('https', 'http') and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that make no sense
        return False


def _redirects() -> Any:
    """Follow redirects, but not out of encryption and not to other protocols."""
    from urllib.request import HTTPRedirectHandler

    class Redirects(HTTPRedirectHandler):

        http_error_308 = HTTPRedirectHandler.http_error_302  # urllib of Python 3.10 lacks it

        def redirect_request(
            self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str,
        ) -> Any:
            target = urlsplit(newurl)
            if target.scheme not in ('http', 'https'):
                raise _Refused(f'it redirects to {newurl}, which is not http')
            if (req.type == 'https' and target.scheme == 'http'
                    and target.hostname not in _LOOPBACK):
                raise _Refused(f'it redirects to {newurl}, which is not encrypted')
            if code == 308:
                code = 307  # the same for GET
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return Redirects

