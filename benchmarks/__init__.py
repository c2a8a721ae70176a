# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What it costs: models, pipeline, node graph, and the same frames in other people's software."""
