# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The overlay: the results of each person, drawn beside the face. No ROS here.

Sizes follow the height of the image, so that 480p and 1080p look alike.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aitable_ros.posture_types import (
    Body, FIRST_BODY_ID, Joint, PostureAssessment, PostureState, PostureUpdate, SHOULDERS, VISIBLE
)
from aitable_ros.types import (
    EmotionEstimate, Expression, FaceLandmarks, FaceResult, FatigueAssessment, FatigueLevel,
    FrameResult, Validity
)

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]
"""x1, y1, x2, y2."""

LEVEL_COLOUR: dict[FatigueLevel, Colour] = {
    FatigueLevel.ALERT: (64, 200, 120),
    FatigueLevel.MILD: (245, 190, 60),
    FatigueLevel.SEVERE: (245, 125, 50),
    FatigueLevel.ASLEEP: (235, 65, 75),
    FatigueLevel.UNKNOWN: (150, 160, 175),
}
"""RGB; told apart in the common kinds of colour blindness by their brightness, and always named."""
INK: Colour = (240, 243, 247)
FADED: Colour = (165, 173, 184)
PANEL: Colour = (18, 22, 28)
TRACK: Colour = (88, 97, 110)
ACCENT: Colour = (95, 175, 250)
PANEL_OPACITY = 0.8

VALIDITY_TEXT = {
    Validity.WARMING_UP: 'warming up',
    Validity.NO_FACE: 'no face',
    Validity.LOW_FRAME_RATE: 'frame rate too low',
    Validity.POSE_OUT_OF_RANGE: 'head turned away',
    Validity.OCCLUDED: 'eyes hidden',
}

EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
"""MediaPipe's eye contours in order, the person's right and left eye."""
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""The outer contour of the lips, in order."""

STATE_COLOUR: dict[PostureState, Colour] = {
    **dict.fromkeys(PostureState, LEVEL_COLOUR[FatigueLevel.MILD]),
    PostureState.UNKNOWN: LEVEL_COLOUR[FatigueLevel.UNKNOWN],
    PostureState.UPRIGHT: LEVEL_COLOUR[FatigueLevel.ALERT],
    PostureState.HEAD_DOWN: LEVEL_COLOUR[FatigueLevel.ASLEEP],
}
LIMBS = tuple((Joint[first], Joint[second]) for first, second in (
    ('LEFT_SHOULDER', 'RIGHT_SHOULDER'), ('LEFT_HIP', 'RIGHT_HIP'),
    *((f'{side}_{first}', f'{side}_{second}') for side in ('LEFT', 'RIGHT')
      for first, second in (
          ('SHOULDER', 'ELBOW'), ('ELBOW', 'WRIST'), ('WRIST', 'INDEX'), ('SHOULDER', 'HIP'),
          ('HIP', 'KNEE'), ('KNEE', 'ANKLE'), ('ANKLE', 'FOOT_INDEX'))),
    ))
"""Lines between joints; the head has its own box and contours."""
NECK = (SHOULDERS, (Joint.LEFT_EAR, Joint.RIGHT_EAR))
"""From the middle of the first two to that of the others."""

REFERENCE_HEIGHT = 720
"""Lengths below are pixels of an image of this height."""
ROW = 21
WIDTH = 208
PAD = 10
BAR = 7
SHIFT = 4
"""Contours are drawn in sixteenths of a pixel."""
MOST = 100_000
"""A joint is drawn no further outside of the image, pixels."""


def draw(image: Image, result: FrameResult) -> Image:
    """
    Return a copy of the image with everything in ``result`` drawn in.

    :param image: ``(height, width, 3)`` uint8 RGB; any size, legible from 480 rows on
    """
    canvas = image.copy()
    scale = max(canvas.shape[0] / REFERENCE_HEIGHT, 0.45)
    posture = result.posture or PostureUpdate()
    for body in posture.bodies:
        _skeleton(canvas, body, _state_of(posture, body.track_id), scale)
    for face in result.faces:
        if face.landmarks is not None:
            _contours(canvas, face.landmarks, _colour(face.fatigue), scale)
    for face in result.faces:
        _corners(canvas, face, scale)
    taken = [_corners_of(face) for face in result.faces]
    for face in sorted(result.faces, key=lambda one: not one.face.primary):
        _panel(canvas, face, posture.assessments.get(face.face.track_id), scale, taken)
    faces = {face.face.track_id for face in result.faces}
    for body in posture.bodies:
        if body.track_id not in faces:
            _label(canvas, body, _state_of(posture, body.track_id), scale)
    _footer(canvas, result, scale)
    return canvas


def _colour(fatigue: FatigueAssessment | None) -> Colour:
    return LEVEL_COLOUR[fatigue.level if fatigue else FatigueLevel.UNKNOWN]


def _corners_of(face: FaceResult) -> Rectangle:
    x1, y1, x2, y2 = (round(float(value)) for value in face.face.box)
    return x1, y1, x2, y2


def _corners(canvas: Image, face: FaceResult, scale: float) -> None:
    """Draw the box as four corners: it marks the face without framing a picture."""
    x1, y1, x2, y2 = _corners_of(face)
    arm = max(round(min(x2 - x1, y2 - y1) * 0.2), 4)
    thick = max(round((3 if face.face.primary else 1.6) * scale), 1)
    colour = _colour(face.fatigue)
    for x, dx in ((x1, arm), (x2, -arm)):
        for y, dy in ((y1, arm), (y2, -arm)):
            for end in ((x + dx, y), (x, y + dy)):
                cv2.line(canvas, (x, y), end, colour, thick, cv2.LINE_AA)


def _contours(canvas: Image, landmarks: FaceLandmarks, colour: Colour, scale: float) -> None:
    for contour in (*EYES, LIPS):
        points = np.round(landmarks.points[list(contour), :2] * (1 << SHIFT)).astype(np.int32)
        cv2.polylines(
            canvas, [points], True, colour if contour is not LIPS else FADED,
            max(round(1.2 * scale), 1), cv2.LINE_AA, SHIFT)


class _Pen:
    """Writes rows into a panel, from top to bottom."""

    def __init__(self, canvas: Image, x: int, y: int, scale: float) -> None:
        self.canvas, self.x, self.y, self.scale = canvas, x, y, scale

    def length(self, pixels: float) -> int:
        """Return a length at the reference height as pixels of this image."""
        return round(pixels * self.scale)

    def text(self, text: str, colour: Colour = INK, *, size: float = 0.46, right: bool = False,
             at: float | None = None) -> None:
        """Write into the current row, from the left, from ``at``, or up to the right edge."""
        font = size * self.scale
        thick = 2 if font >= 0.85 else 1
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, font, thick)
        x = self.x + self.length(at if at is not None else PAD)
        if right:
            x = self.x + self.length(WIDTH - PAD) - width
        y = self.y + (self.length(ROW) + height) // 2
        cv2.putText(
            self.canvas, text, (x, y), cv2.FONT_HERSHEY_DUPLEX, font, colour, thick, cv2.LINE_AA)

    def bar(self, share: float, colour: Colour, left: float, right: float, *,
            centred: bool = False, marks: tuple[float, ...] = ()) -> None:
        """Draw a share, 0 ... 1 (centred: -1 ... 1), as a bar between two offsets."""
        x1, x2 = self.x + self.length(left), self.x + self.length(right)
        y1 = self.y + (self.length(ROW) - self.length(BAR)) // 2
        y2 = y1 + max(self.length(BAR), 3)
        cv2.rectangle(self.canvas, (x1, y1), (x2, y2), TRACK, cv2.FILLED)
        if not math.isnan(share):
            start = (x1 + x2) // 2 if centred else x1
            span = (x2 - x1) / (2 if centred else 1)
            limited = min(max(share, -1.0 if centred else 0.0), 1.0)
            end = round(start + limited * span)
            cv2.rectangle(
                self.canvas, (min(start, end), y1), (max(start, end), y2), colour, cv2.FILLED)
        for mark in (*marks, *((0.5,) if centred else ())):
            x = round(x1 + mark * (x2 - x1))
            cv2.line(self.canvas, (x, y1 - 1), (x, y2 + 1), FADED, 1)

    def next(self) -> None:
        """Go to the next row."""
        self.y += self.length(ROW)


def _state_of(posture: PostureUpdate, track_id: int) -> PostureState:
    assessment = posture.assessments.get(track_id)
    return assessment.state if assessment else PostureState.UNKNOWN


def _skeleton(canvas: Image, body: Body, state: PostureState, scale: float) -> None:
    """Draw the limbs of which both joints are seen."""
    skeleton, colour = body.skeleton, STATE_COLOUR[state]
    points = np.nan_to_num(skeleton.points[:, :2]).clip(-MOST, MOST) * (1 << SHIFT)
    thick = max(round((3 if body.primary else 2) * scale), 1)
    lines = [(points[first], points[second]) for first, second in LIMBS
             if skeleton.sees(first, second)]
    if skeleton.sees(*NECK[0], *NECK[1]):
        lines.append((points[list(NECK[0])].mean(axis=0), points[list(NECK[1])].mean(axis=0)))
    for start, end in lines:
        cv2.line(canvas, _whole(start), _whole(end), colour, thick, cv2.LINE_AA, SHIFT)
    radius = max(round(3 * scale), 1) << SHIFT
    for joint in {joint for limb in LIMBS for joint in limb}:
        if skeleton.visibility[joint] >= VISIBLE:
            cv2.circle(
                canvas, _whole(points[joint]), radius, INK, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _whole(point: NDArray[np.floating[Any]]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _label(canvas: Image, body: Body, state: PostureState, scale: float) -> None:
    """Name a body without a face in the image, above it."""
    x, y = np.nan_to_num(body.skeleton.box[:2])
    rows, columns = canvas.shape[:2]
    width, height = round(WIDTH * scale), round(ROW * scale)
    left = min(max(round(float(x)), 0), max(columns - width, 0))
    top = min(max(round(float(y)) - height, 0), max(rows - height, 0))
    _shade(canvas, left, top, left + width, top + height)
    pen = _Pen(canvas, left, top, scale)
    pen.text(_name(body.track_id))
    pen.text(_words(state), STATE_COLOUR[state], right=True)


def _name(track_id: int) -> str:
    """Return how a person is called; who has shown no face has only a number of the body."""
    return f'Person {track_id}' if track_id < FIRST_BODY_ID else f'Body {track_id - FIRST_BODY_ID}'


def _words(state: PostureState) -> str:
    return state.name.replace('_', ' ').lower()


def _panel(
    canvas: Image, face: FaceResult, posture: PostureAssessment | None, scale: float,
    taken: list[Rectangle],
) -> None:
    full = face.face.primary  # the others' panels are short, or they hide each other
    rows = 1 + (4 if full else 1) * bool(face.fatigue) + (3 if full else 1) * bool(face.emotion) \
        + bool(posture)
    width = round(WIDTH * scale)
    height = round((ROW * rows + PAD) * scale)
    x, y = _place(canvas, face, width, height, scale, taken)
    taken.append((x, y, x + width, y + height))
    colour = _colour(face.fatigue)
    _shade(canvas, x, y, x + width, y + height)
    edge = max(round(3 * scale), 2)
    cv2.rectangle(canvas, (x, y), (x + edge, y + height), colour, cv2.FILLED)
    pen = _Pen(canvas, x, y + round(PAD / 2 * scale), scale)
    pen.text(_name(face.face.track_id), INK, size=0.52)
    if face.fatigue:
        pen.text(face.fatigue.level.name, colour, size=0.5, right=True)
        pen.next()
        _fatigue_rows(pen, face.fatigue, colour, full=full)
    else:
        pen.next()
    if face.emotion:
        _emotion_rows(pen, face.emotion, full=full)
    if posture:
        pen.text(_words(posture.state), STATE_COLOUR[posture.state])
        pen.text(f'{posture.state_s:.0f} s', FADED, right=True)


def _place(
    canvas: Image, face: FaceResult, width: int, height: int, scale: float,
    taken: list[Rectangle],
) -> tuple[int, int]:
    """Find room beside the face, right of it first; where there is none, where it covers least."""
    rows, columns = canvas.shape[:2]
    x1, y1, x2, y2 = _corners_of(face)
    gap = round(12 * scale)
    candidates = [
        (x, y) for y in (y1, y2 - height) for x in (x2 + gap, x1 - gap - width)
    ] + [(x, y) for x in (x1, x2 - width) for y in (y2 + gap, y1 - gap - height)]
    placed = []
    for x, y in candidates:
        x = min(max(x, 0), max(columns - width, 0))
        y = min(max(y, 0), max(rows - height, 0))
        mine = (x, y, x + width, y + height)
        covered = sum(_overlap(mine, other) for other in taken)
        placed.append((covered, x, y))
    _, x, y = min(placed, key=lambda candidate: candidate[0])
    return x, y


def _overlap(a: Rectangle, b: Rectangle) -> int:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def _shade(canvas: Image, x1: int, y1: int, x2: int, y2: int) -> None:
    region = canvas[max(y1, 0):y2, max(x1, 0):x2]
    if region.size:
        dark = np.full_like(region, PANEL)
        cv2.addWeighted(dark, PANEL_OPACITY, region, 1 - PANEL_OPACITY, 0, region)


def _fatigue_rows(
    pen: _Pen, fatigue: FatigueAssessment, colour: Colour, *, full: bool,
) -> None:
    left, right = 78, 150
    pen.text('eyes', FADED)
    pen.bar(fatigue.openness, ACCENT, left, right)
    pen.text('shut' if fatigue.eyes_closed else _number(fatigue.openness, '{:.0%}'), right=True)
    pen.next()
    if not full:
        return
    ear = np.array([fatigue.ear_left, fatigue.ear_right])
    known = ear[~np.isnan(ear)]
    pen.text('EAR', FADED)
    pen.text(_number(float(known.mean()) if known.size else math.nan, '{:.2f}'), at=left)
    pen.text(f'{fatigue.blink_count} blinks', right=True)
    pen.next()
    pen.text('PERCLOS', FADED)
    # Full scale 30 %: MILD begins at 8 %, SEVERE at 15 %.
    pen.bar(fatigue.perclos / 0.3, colour, left, right, marks=(0.08 / 0.3, 0.15 / 0.3))
    pen.text(_number(fatigue.perclos, '{:.1%}'), right=True)
    pen.next()
    if fatigue.reasons and fatigue.level is not FatigueLevel.UNKNOWN:
        words = ', '.join(
            reason.name.replace('_', ' ').lower()
            for reason in type(fatigue.reasons) if reason and reason in fatigue.reasons
            and reason.name)
        pen.text(words[:30], colour, size=0.42)
    elif fatigue.validity is not Validity.VALID:
        pen.text(VALIDITY_TEXT[fatigue.validity], FADED)
    else:
        pen.text(f'{_number(fatigue.blink_rate, "{:.0f}")} blinks/min', FADED)
    pen.next()


def _emotion_rows(pen: _Pen, emotion: EmotionEstimate, *, full: bool) -> None:
    known = emotion.expression is not Expression.UNKNOWN
    pen.text(emotion.expression.name.lower(), INK if known else FADED)
    if known:
        pen.text(f'{emotion.confidence:.0%}', right=True)
    pen.next()
    if not full:
        return
    for name, value in (('valence', emotion.valence), ('arousal', emotion.arousal)):
        pen.text(name, FADED)
        pen.bar(value, ACCENT, 78, 150, centred=True)
        pen.text(_number(value, '{:+.2f}'), right=True)
        pen.next()


def _number(value: float, form: str) -> str:
    return '-' if math.isnan(value) else form.format(value)


def _footer(canvas: Image, result: FrameResult, scale: float) -> None:
    """Say at the bottom what produced it, and that there is nobody when there is nobody."""
    parts = [
        f'{stage}: {info.model} {info.backend} {info.precision}'.rstrip()
        for stage, info in result.models.items() if info.model]
    line = '   '.join(parts if result.faces else ['no face', *parts])
    font = 0.4 * scale
    (width, height), below = cv2.getTextSize(line, cv2.FONT_HERSHEY_DUPLEX, font, 1)
    y = canvas.shape[0] - below - 3
    _shade(canvas, 0, y - height - 5, min(width + 14, canvas.shape[1]), canvas.shape[0])
    cv2.putText(canvas, line, (7, y), cv2.FONT_HERSHEY_DUPLEX, font, FADED, 1, cv2.LINE_AA)
