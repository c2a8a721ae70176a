# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Labels of the public data sets, read as they come; ``docs/evaluation.md`` has their sources."""
