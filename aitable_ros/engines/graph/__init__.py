# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph that a TensorRT builder reads: simplified, merged, with its precision in it."""
