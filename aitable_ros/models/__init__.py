# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The models: catalogue, download, conversion to ONNX."""
