# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Follow the mesh of each face from image to image, and reject meshes that lie on no face."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aitable_ros.face.covered_eyes import eyes_covered
from aitable_ros.face.mesh import FaceMesh, roi_from_detection, roi_from_landmarks
from aitable_ros.face.mesh_proof import MeshProof
from aitable_ros.types import FaceLandmarks, Frame, TrackedFace

PROOF_PAUSE_NS = 200_000_000
"""Least time between two proofs of a mesh whose presence is in doubt."""
COVERED_LOOKS = 2
"""Looks in a row that must find both eyes covered; one look that sees an eye clears the face."""
EYES_EVERY_NS = 250_000_000
"""Time between two looks at whether the eyes are covered."""
SURE_PRESENCE = 1 - 1 / 22_000
"""
Presence (a logit of 10) below which a mesh is in doubt: 0.7 % of the meshes on faces of 31 clips
and 99 % of those on hair lie below.
"""


@dataclass(slots=True, eq=False)
class _Followed:
    """
    A face whose mesh is followed.

    :param landmarks: the last mesh; None where the next mesh begins at the detector's box
    :param proved_ns: when the detector last confirmed the mesh
    :param looked_ns: when the eyes were last looked at
    :param covered: looks in a row that found both eyes covered
    """

    landmarks: FaceLandmarks | None = None
    proved_ns: int = 0
    looked_ns: int = -EYES_EVERY_NS
    covered: int = 0


class MeshFollower:
    """
    The meshes of the faces in a stream of images.

    Serves one thread.

    :param mesh: finds landmarks
    :param proof: compares meshes with the face detector; None accepts every mesh
    """

    def __init__(self, mesh: FaceMesh, proof: MeshProof | None = None) -> None:
        self._mesh = mesh
        self._proof = proof
        self._followed: dict[int, _Followed] = {}

    def exchange_faces(self, other: MeshFollower) -> None:
        """Let each follower go on with the faces of the other."""
        self._followed, other._followed = other._followed, self._followed

    def forget(self) -> None:
        """Begin every mesh at the detector's box again."""
        self._followed.clear()

    def keep(self, track_ids: Collection[int]) -> None:
        """Forget the meshes of all other faces."""
        self._followed = {
            track_id: item for track_id, item in self._followed.items() if track_id in track_ids}

    def find(
        self, frame: Frame, faces: Sequence[TrackedFace], min_presence: float,
        proof_interval_s: float,
    ) -> dict[int, FaceLandmarks]:
        """
        Find the mesh of each face: from its last mesh where that fits the box, else from the box.

        :param min_presence: least probability that a crop shows a face
        :param proof_interval_s: image time between two proofs of a mesh that is followed
        :return: by track; a face whose mesh lies on no face is left out
        """
        from_mesh: list[TrackedFace] = []
        rois = []
        for face in faces:
            item = self._followed.setdefault(face.track_id, _Followed())
            if item.landmarks is not None and not _agree(item.landmarks.box, face.box):
                item.landmarks = None
            if item.landmarks is None:
                rois.append(roi_from_detection(face.detection))
            else:
                rois.append(roi_from_landmarks(item.landmarks))
                from_mesh.append(face)
        limits = min_presence, proof_interval_s
        found = self._read(frame, faces, rois, *limits)
        again = [face for face in from_mesh if face.detected and face.track_id not in found]
        boxes = [roi_from_detection(face.detection) for face in again]
        return found | self._read(frame, again, boxes, *limits)

    def _read(
        self, frame: Frame, faces: Sequence[TrackedFace], rois: Sequence[NDArray[np.float32]],
        min_presence: float, proof_interval_s: float,
    ) -> dict[int, FaceLandmarks]:
        """Read the mesh of each face in its region; return the accepted ones."""
        found: dict[int, FaceLandmarks] = {}
        if not rois:
            return found
        for face, landmarks in zip(faces, self._mesh.read(frame.image, np.stack(rois))):
            item = self._followed[face.track_id]
            if landmarks.presence >= min_presence \
                    and self._is_proved(frame, landmarks, item, proof_interval_s):
                found[face.track_id] = _look_at_eyes(frame, landmarks, item)
            item.landmarks = found.get(face.track_id)
        return found

    def _is_proved(
        self, frame: Frame, landmarks: FaceLandmarks, item: _Followed, interval_s: float,
    ) -> bool:
        """Ask the detector about a mesh that is new, in doubt, or was not proved for long."""
        if self._proof is None:
            return True
        since_ns = frame.stamp_ns - item.proved_ns
        due = item.landmarks is None or since_ns >= interval_s * 1e9 or (
            landmarks.presence < SURE_PRESENCE and since_ns >= PROOF_PAUSE_NS)
        if due:
            if not self._proof.holds(frame.image, landmarks):
                return False
            item.proved_ns = frame.stamp_ns
        return True


def _look_at_eyes(frame: Frame, landmarks: FaceLandmarks, item: _Followed) -> FaceLandmarks:
    """Mark a mesh whose eyes are covered."""
    if frame.stamp_ns - item.looked_ns >= EYES_EVERY_NS:
        item.looked_ns = frame.stamp_ns
        item.covered = item.covered + 1 if eyes_covered(frame.image, landmarks) else 0
    return replace(landmarks, eyes_covered=True) if item.covered >= COVERED_LOOKS else landmarks


def _agree(mesh: NDArray[np.float32], box: NDArray[np.float32]) -> bool:
    """Whether two boxes can be of one face: centres within half a face, sizes within a factor."""
    ax1, ay1, ax2, ay2 = mesh.tolist()
    bx1, by1, bx2, by2 = box.tolist()
    size, other = max(ax2 - ax1, ay2 - ay1), max(bx2 - bx1, by2 - by1)
    if not (size > 0 and 0.4 * size <= other <= 2.5 * size):
        return False
    reach = 0.5 * max(size, other)
    apart = max(abs(ax1 + ax2 - bx1 - bx2), abs(ay1 + ay2 - by1 - by2)) / 2
    return bool(apart <= reach)
