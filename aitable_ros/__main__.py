# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""``python -m aitable_ros`` is the ``aitable`` command."""

import sys

from aitable_ros.cli import main

if __name__ == '__main__':
    sys.exit(main())
