# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Eye closure, PERCLOS, blinks, yawns and head pose, in image time."""
