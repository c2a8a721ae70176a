# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Merges the attention mesh's outputs into one list of 478 landmarks, inside the graph.

Like MediaPipe's ``tensors_to_face_landmarks_with_attention.pbtxt``: lips and eyes replace x and y
of their mesh points and keep z; the irises are added, with the mean z of their eye's contour.
MediaPipe's left is the image's: ``left_eye`` is the person's right one (33 ... 133).
"""

from __future__ import annotations

import numpy as np

from aitable_ros.models.convert.tflite import TfliteTranslation

MESH_POINTS = 468

# Where each output's landmarks go. Lips: outer, inner, semi-outer and semi-inner contour, each
# lower then upper. Eyes: the contour (lower, upper), then its halos and the brow.
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
    76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407)
LEFT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
    130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190,
    226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189,
    35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245,
    156, 70, 63, 105, 66, 107, 55, 193)
RIGHT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
    359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414,
    446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413,
    265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465,
    383, 300, 293, 334, 296, 336, 285, 417)
LEFT_IRIS = tuple(range(468, 473))
RIGHT_IRIS = tuple(range(473, 478))
CONTOUR = 16
"""How many of an eye's landmarks are its contour: the first ones."""

REFINED = {
    'output_lips': LIPS, 'output_left_eye': LEFT_EYE, 'output_right_eye': RIGHT_EYE,
    'output_left_iris': LEFT_IRIS, 'output_right_iris': RIGHT_IRIS,
}
"""Output of the file -> its landmarks' places in the merged list."""


def merged_landmarks(at: TfliteTranslation) -> str:
    """Return the merged ``(N, 478, 3)``."""
    graph = at.graph
    mesh = graph.reshape(at.by_name('output_mesh_identity'), -1, MESH_POINTS, 3)

    rows = np.arange(MESH_POINTS + len(LEFT_IRIS) + len(RIGHT_IRIS))
    for name, places in REFINED.items():
        rows[list(places)] = MESH_POINTS + at.crops.rows(at, at.index_of(name))
    xy = graph.add('Concat', graph.slice(mesh, 2, 0, 2), at.crops.refined, axis=1)
    xy = graph.add('Gather', xy, graph.ints(*rows), axis=1)

    z = graph.slice(mesh, 2, 2, 3)
    means = np.zeros((2, MESH_POINTS))
    for row, eye in zip(means, (LEFT_EYE, RIGHT_EYE)):
        row[list(eye[:CONTOUR])] = 1 / CONTOUR
    z = graph.add('Concat', z, graph.add('MatMul', graph.constant(means), z), axis=1)
    rows = np.r_[:MESH_POINTS, [MESH_POINTS] * len(LEFT_IRIS), [MESH_POINTS + 1] * len(RIGHT_IRIS)]
    z = graph.add('Gather', z, graph.ints(*rows), axis=1)
    return graph.add('Concat', xy, z, axis=2)
