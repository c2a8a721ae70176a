# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The one exception that bad input raises."""


class InputError(ValueError):
    """
    Something the user gave cannot be used.

    The message is one line that names the file or parameter and the remedy. A command prints it
    and exits with status 2; a node logs it and fails to configure. Nothing shows a traceback.
    What a damaged file brings into it, line breaks above all, becomes escapes.
    """

    def __init__(self, message: object = '') -> None:
        super().__init__(one_line(str(message)))


def one_line(text: str) -> str:
    """Return text with all that cannot be printed on one line as escapes."""
    return text if text.isprintable() else ''.join(
        char if char.isprintable() else repr(char)[1:-1] for char in text)
