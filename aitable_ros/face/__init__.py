# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Find faces, follow them, choose the primary one, and fit the mesh."""
