# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Find bodies, read their joints, and measure how a person sits."""
