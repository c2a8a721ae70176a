# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The one exception that bad input raises."""


class InputError(ValueError):
    """
    Something the user gave cannot be used.

    The message is one line that names the file or parameter and the remedy. A command prints it
    and exits with status 2; a node logs it and fails to configure. Nothing shows a traceback.
    """
