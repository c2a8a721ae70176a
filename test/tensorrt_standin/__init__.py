# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Stand-ins of TensorRT 8.5, 8.6, 10.3 and 11.4 and of CUDA's two Python packages, for a CPU.

``surface`` gives every class the real one's names and no other; ``runtime`` and ``builder`` are the
classes, ``plan`` is the engine file that passes between them, ``cuda`` the GPU and the packages
that reach it. ``harness`` puts them where ``import tensorrt`` finds them, or takes the real ones.
"""
