# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
The values that pass between the packages: frozen, documented, free of ROS.

Images are RGB uint8, height x width x channel. Boxes are ``[x1, y1, x2, y2]``, pixels of the whole
image, float32, not clipped to it. Angles are radians. A ``_ns`` is an int of nanoseconds, a ``_s``
a float of seconds; both are image time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

from aitable_ros.posture_types import PostureUpdate

NAN = float('nan')


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """
    One decoded camera image.

    :param image: ``(height, width, 3)`` uint8, RGB, read-only once shared
    :param stamp_ns: when it was taken, from the message header or the video's own clock
    :param frame_id: the camera's coordinate frame

    >>> import numpy as np
    >>> frame = Frame(np.zeros((480, 640, 3), np.uint8), stamp_ns=0)
    >>> frame.width, frame.height
    (640, 480)
    """

    image: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str = ''

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f'a Frame holds (height, width, 3) uint8 RGB, not {self.image.shape} '
                f'{self.image.dtype}')

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.image.shape[1])


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """
    The model that produced a result; it goes into every message, row and report.

    >>> ModelInfo('facemesh', backend='openvino', precision='fp32').backend
    'openvino'
    """

    model: str = ''
    backend: str = ''
    precision: str = ''


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """
    One face found in one image, or one body by its face.

    :param box: ``(4,)`` float32 ``[x1, y1, x2, y2]``, pixels
    :param confidence: 0 ... 1
    :param keypoints: ``(k, 2)`` float32 pixels, image left/right as the *person's*: right eye, left
        eye, nose tip, then those that the model has (BlazeFace: mouth, right ear, left ear); k may
        be 0. BlazePose has other four: ``posture.blazepose_detector.KEYPOINTS``

    >>> import numpy as np
    >>> Detection(np.array([10, 20, 110, 140], np.float32), confidence=0.9).keypoints.shape
    (0, 2)
    """

    box: NDArray[np.float32]
    confidence: float
    keypoints: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 2), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """
    A face with a number that stays while it is followed.

    :param track_id: 1, 2, 3, ...; never used again within one process
    :param detection: the last detection, its box moved to this image
    :param primary: the person the robot is dealing with; at most one in an image
    :param detected: found by the detector in this very image, not carried over from an earlier one

    >>> import numpy as np
    >>> found = Detection(np.array([10, 20, 110, 140], np.float32), confidence=0.9)
    >>> TrackedFace(track_id=1, detection=found, primary=True).box.tolist()
    [10.0, 20.0, 110.0, 140.0]
    """

    track_id: int
    detection: Detection
    primary: bool = False
    detected: bool = True

    @property
    def box(self) -> NDArray[np.float32]:
        """``(4,)`` float32 ``[x1, y1, x2, y2]``, pixels."""
        return self.detection.box


@dataclass(frozen=True, slots=True, eq=False)
class FaceLandmarks:
    """
    The 478-point attention mesh of one face (468 where the plain mesh ran).

    On OpenVINO the last ten, the irises, are not measured but lie in the middle of each eye.

    :param points: ``(n, 3)`` float32; x, y in pixels of the whole image, z in the same scale
        relative to the head's centre, smaller = nearer
    :param presence: probability that the crop shows a face, 0 ... 1
    :param eyes_covered: neither eye can be seen: the lids of the mesh are guesses

    >>> import numpy as np
    >>> corners = np.array([[10, 20, 0], [110, 140, 5]], np.float32)
    >>> FaceLandmarks(corners, presence=0.99).box.tolist()
    [10.0, 20.0, 110.0, 140.0]
    """

    points: NDArray[np.float32]
    presence: float
    eyes_covered: bool = False
    _box: NDArray[np.float32] | None = field(default=None, init=False, repr=False)

    @property
    def box(self) -> NDArray[np.float32]:
        """``(4,)`` float32 box around the points, pixels."""
        if self._box is None:  # tracker, monitor and overlay each ask for it
            xy = np.ascontiguousarray(self.points[:468, :2].T)
            box = np.concatenate([xy.min(axis=1), xy.max(axis=1)])
            object.__setattr__(self, '_box', box)
        assert self._box is not None
        return self._box


class Expression(IntEnum):
    """
    EmoNet's eight classes in EmoNet's order; ``EXPRESSION_`` constants of ``aitable_msgs/Emotion``.

    >>> Expression(1).name
    'HAPPY'
    """

    NEUTRAL = 0
    HAPPY = 1
    SAD = 2
    SURPRISE = 3
    FEAR = 4
    DISGUST = 5
    ANGER = 6
    CONTEMPT = 7
    UNKNOWN = 255


@dataclass(frozen=True, slots=True, eq=False)
class EmotionEstimate:
    """
    Expression, valence and arousal of one tracked face.

    :param expression: UNKNOWN where nothing could be read (all probabilities are 0), or where two
        models contradict each other and neither is sure
    :param confidence: probability of that expression; 0 when it is UNKNOWN
    :param probabilities: ``(8,)`` float32 in order of :class:`Expression`, summing to 1; 0 for a
        class that the model lacks; all 0 when nothing could be read
    :param valence: -1 ... 1, NaN where the model has none
    :param arousal: -1 ... 1, NaN where the model has none
    :param from_cache: read from an earlier image of this face
    :param age_s: image time since that reading, seconds

    >>> import numpy as np
    >>> happy = np.eye(8, dtype=np.float32)[Expression.HAPPY]
    >>> estimate = EmotionEstimate(1, Expression.HAPPY, confidence=1.0, probabilities=happy)
    >>> estimate.expression.name, estimate.valence
    ('HAPPY', nan)
    """

    track_id: int
    expression: Expression
    confidence: float
    probabilities: NDArray[np.float32]
    valence: float = NAN
    arousal: float = NAN
    from_cache: bool = False
    age_s: float = 0.0


class Validity(IntEnum):
    """
    Whether the figures over a window may be used, and if not, why.

    The values are the ``VALIDITY_`` constants of ``aitable_msgs/FatigueState``.

    >>> FatigueAssessment(1, 0, Validity.OCCLUDED).validity is Validity.VALID
    False
    """

    NO_FACE = 0
    WARMING_UP = 1
    LOW_FRAME_RATE = 2
    POSE_OUT_OF_RANGE = 3
    OCCLUDED = 4
    VALID = 5


class FatigueLevel(IntEnum):
    """
    How tired a person looks, in order; usable whenever it is not UNKNOWN.

    The values are the ``LEVEL_`` constants of ``aitable_msgs/FatigueState``.

    >>> FatigueLevel.SEVERE > FatigueLevel.MILD > FatigueLevel.ALERT
    True
    """

    UNKNOWN = 0
    ALERT = 1
    MILD = 2
    SEVERE = 3
    ASLEEP = 4


class FatigueReason(IntFlag):
    """
    Why the level is what it is: ``REASON_`` bits of ``aitable_msgs/FatigueState``.

    SLUMPED comes from the posture of the body, if that is read.

    >>> reasons = FatigueReason.PERCLOS | FatigueReason.MICROSLEEP
    >>> FatigueReason.MICROSLEEP in reasons, FatigueReason.YAWNING in reasons
    (True, False)
    """

    NONE = 0
    PERCLOS = 1
    PERCLOS_LONG = 2
    LONG_BLINKS = 4
    MICROSLEEP = 8
    SLEEP = 16
    YAWNING = 32
    NODDING = 64
    SLUMPED = 128


class FatigueEventType(IntEnum):
    """
    What happened: ``EVENT_`` constants of ``aitable_msgs/FatigueEvent``.

    >>> FatigueEventType.BLINK.name
    'BLINK'
    """

    BLINK = 1
    LONG_CLOSURE = 2
    MICROSLEEP = 3
    SLEEP = 4
    YAWN = 5
    NOD = 6
    LEVEL_CHANGED = 7
    SLUMPED = 8


@dataclass(frozen=True, slots=True)
class FatigueAssessment:
    """
    How tired one person looks in one image: ``FatigueState`` plus two unpublished fields.

    :param perclos_p80: PERCLOS with the textbook's threshold, openness below 0.2, last 60 s
    :param usable_s: time in which the eyes could be measured since this track began, as far as open
        and closed are told apart by now
    :param closed_s: of that, with closed eyes

    >>> state = FatigueAssessment(1, 0, Validity.WARMING_UP)
    >>> state.level.name, state.perclos
    ('UNKNOWN', nan)
    """

    track_id: int
    stamp_ns: int
    validity: Validity
    level: FatigueLevel = FatigueLevel.UNKNOWN
    reasons: FatigueReason = FatigueReason.NONE
    ear_left: float = NAN
    ear_right: float = NAN
    openness: float = NAN
    eyes_closed: bool = False
    closure_s: float = 0.0
    perclos: float = NAN
    perclos_long: float = NAN
    perclos_coverage: float = 0.0
    perclos_long_coverage: float = 0.0
    blink_count: int = 0
    blink_rate: float = NAN
    mean_blink_s: float = NAN
    mar: float = NAN
    yawning: bool = False
    yawn_count: int = 0
    head_roll: float = NAN
    head_pitch: float = NAN
    head_yaw: float = NAN
    calibrated: bool = False
    baseline_ear: float = NAN
    perclos_p80: float = NAN
    usable_s: float = 0.0
    closed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FatigueEvent:
    """
    Something that happened to one person, reported once, when it is certain.

    :param start_ns: when it began, image time
    :param duration_s: how long it lasted (so far, for a sleep that goes on)
    :param level: the level after it

    >>> blink = FatigueEvent(
    ...     1, FatigueEventType.BLINK, start_ns=0, duration_s=0.2, level=FatigueLevel.ALERT)
    >>> blink.type.name
    'BLINK'
    """

    track_id: int
    type: FatigueEventType
    start_ns: int
    duration_s: float
    level: FatigueLevel


@dataclass(frozen=True, slots=True, eq=False)
class FaceResult:
    """
    All that the pipeline knows about one face in one frame; a stage that is off leaves None.

    >>> import numpy as np
    >>> found = Detection(np.array([10, 20, 110, 140], np.float32), confidence=0.9)
    >>> FaceResult(TrackedFace(1, found)).fatigue is None
    True
    """

    face: TrackedFace
    landmarks: FaceLandmarks | None = None
    emotion: EmotionEstimate | None = None
    fatigue: FatigueAssessment | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """
    The pipeline's answer to one frame.

    :param faces: the tracked faces in the image, the primary one first
    :param absent: assessments of people who were here within the forget time and are not now
        (validity NO_FACE); with nobody known, one with track_id 0
    :param events: that became certain with this frame
    :param models: that ran, by stage: ``face``, ``mesh``, ``emotion``, ``posture``
    :param elapsed_ms: time spent by stage, milliseconds: ``face``, ``fatigue``, ``emotion``,
        ``posture``
    :param posture: the bodies; None where the stage is off

    >>> FrameResult(0, (), (), (), {}, {}).primary is None
    True
    """

    stamp_ns: int
    faces: tuple[FaceResult, ...]
    absent: tuple[FatigueAssessment, ...]
    events: tuple[FatigueEvent, ...]
    models: dict[str, ModelInfo]
    elapsed_ms: dict[str, float]
    posture: PostureUpdate | None = None

    @property
    def primary(self) -> FaceResult | None:
        """The primary person's result, if there is one in this image."""
        return next((face for face in self.faces if face.face.primary), None)
