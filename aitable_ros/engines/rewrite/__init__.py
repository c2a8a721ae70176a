# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Exact rewrites of a network's graph, for runtimes that pay for every kernel they launch."""
