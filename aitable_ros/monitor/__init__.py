# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The operator's page: what a running graph says, in a browser beside it."""
