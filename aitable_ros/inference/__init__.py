# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Load and run models: one small protocol, one module a backend, and the chain that picks."""
