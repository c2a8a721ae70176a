# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The exceptions that bad input raises, and one-line texts of errors."""


class InputError(ValueError):
    """
    Something the user gave cannot be used.

    The message is one line that names the file or parameter and the remedy. A command prints it
    and exits with status 2; a node logs it and fails to configure. Nothing shows a traceback.
    Characters of a damaged file that cannot be printed, line breaks above all, become escapes.

    >>> str(InputError('clip.avi: not a video'))
    'clip.avi: not a video'
    """

    def __init__(self, message: object = '') -> None:
        super().__init__(one_line(str(message)))


class ImageError(ValueError):
    """
    An image message that cannot be used.

    :param cause: one word for throttling and counting: ``stamp``, ``size``, ``data``, ``encoding``,
        ``layout``, ``jump``, ``decoder``
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def one_line(text: str) -> str:
    """Return text with all that cannot be printed on one line as escapes."""
    return text if text.isprintable() else ''.join(
        char if char.isprintable() else repr(char)[1:-1] for char in text)


def first_line(error: object) -> str:
    """Return the first line with text of a library's message or exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
