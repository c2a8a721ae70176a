# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How one person sits, over time: bodies in, assessments and events out. No images, no models."""

from __future__ import annotations

import math

from aitable_ros.clock import SECOND_NS
from aitable_ros.posture.baseline import Upright, UprightBaseline
from aitable_ros.posture.head_down import HeadWatch
from aitable_ros.posture.options import PostureOptions
from aitable_ros.posture.sighting import Looker, Sighting
from aitable_ros.posture.states import compare, Deviation, evidence, StateKeeper
from aitable_ros.posture.stillness import Stillness
from aitable_ros.posture_types import (
    Body, NAN, PostureAssessment, PostureEvent, PostureEventType, PostureState, PostureValidity
)


class PersonPosture:
    """
    The posture of one person. All time is the readings' own, and must rise.

    :param track_id: of the person
    :param options: the thresholds
    """

    def __init__(self, track_id: int, options: PostureOptions) -> None:
        self.track_id = track_id
        self._options = options
        self.baseline = UprightBaseline(options)
        self._looker = Looker()
        self._head = HeadWatch(options)
        self._states = StateKeeper(options)
        self._stillness = Stillness(options)
        self._before = PostureState.UNKNOWN
        self._held_ns: int | None = None
        self._support_ns = -(1 << 62)
        self.slumped_ns: int | None = None
        """Since when the person is slumped; None: the person is not."""

    def continue_as(self, track_id: int) -> None:
        """Go on under the number of another track."""
        self.track_id = track_id

    def configure(self, options: PostureOptions) -> None:
        """Take other thresholds; baseline, state and times stay."""
        self._options = options
        for part in (self.baseline, self._head, self._states, self._stillness):
            part.configure(options)

    def update(
        self, stamp_ns: int, body: Body | None,
    ) -> tuple[PostureAssessment, tuple[PostureEvent, ...]]:
        """
        Take in the reading of one image.

        :param body: None where the person is not in it
        :return: the assessment, and the events that became certain with it
        """
        sighting, deviation, down = Sighting(), Deviation(), NAN
        if body is not None:
            sighting = self._looker.look(stamp_ns, body.skeleton, body.face_roll)
            self.baseline.add(
                stamp_ns, sighting, self._states.state is PostureState.UPRIGHT)
            known = self.baseline.learned
            upright = self.baseline.value if known else Upright()
            deviation = compare(sighting, upright)
            down = self._head.add(stamp_ns, sighting, upright.head_height)
        before = self._states.state
        change = self._states.add(stamp_ns, evidence(deviation, down, self._options))
        events = []
        if change is not None:
            self._before = change.before
            events.append(self._event(
                PostureEventType.POSTURE_CHANGED, change.start_ns, change.before_s, change.before))
        elif self._states.state is not before:
            self._before = PostureState.UNKNOWN
        events += self._slump(stamp_ns, down >= self._options.leave_share)
        if body is not None and self._stillness.add(stamp_ns, sighting):
            events.append(self._event(
                PostureEventType.STILL, self._stillness.start_ns, self._stillness.seconds,
                self._states.state))
        return self._assess(stamp_ns, body, sighting, deviation), tuple(events)

    def _slump(self, stamp_ns: int, down: bool) -> list[PostureEvent]:
        """
        Say that a head which sank has stayed down for long enough.

        :param down: it is, in this very reading
        """
        states = self._states
        if states.state is not PostureState.HEAD_DOWN or not self._head.sank:
            self.slumped_ns = None
            return []
        lasted_s = (stamp_ns - states.since_ns) / SECOND_NS
        if self.slumped_ns is not None or not down or lasted_s < self._options.slump_s:
            return []
        self.slumped_ns = states.since_ns
        return [self._event(PostureEventType.SLUMPED, states.since_ns, lasted_s, self._before)]

    def _event(
        self, kind: PostureEventType, start_ns: int, duration_s: float, before: PostureState,
    ) -> PostureEvent:
        return PostureEvent(
            self.track_id, kind, start_ns, duration_s, self._states.state, before)

    def _supported(self, stamp_ns: int, hand_to_head: float) -> bool:
        """Return whether a hand has been at the head for long enough."""
        options = self._options
        if math.isnan(hand_to_head):
            if stamp_ns - self._support_ns > options.max_gap_s * SECOND_NS:
                self._held_ns = None
        else:
            reach = options.support_distance
            if self._held_ns is not None:
                reach /= options.leave_share
            if hand_to_head > reach:
                self._held_ns = None
            elif self._held_ns is None \
                    or stamp_ns - self._support_ns > options.max_gap_s * SECOND_NS:
                self._held_ns = stamp_ns
            self._support_ns = stamp_ns
        return self._held_ns is not None \
            and stamp_ns - self._held_ns >= options.support_s * SECOND_NS

    def _assess(
        self, stamp_ns: int, body: Body | None, sighting: Sighting, deviation: Deviation,
    ) -> PostureAssessment:
        states, angles = self._states, sighting.angles
        if body is None:
            validity = PostureValidity.NO_BODY
        elif math.isnan(angles.ear_height):
            validity = PostureValidity.PARTIAL
        elif not self.baseline.learned:
            validity = PostureValidity.WARMING_UP
        else:
            validity = PostureValidity.VALID
        return PostureAssessment(
            self.track_id, stamp_ns, validity, states.state,
            (stamp_ns - states.since_ns) / SECOND_NS, tuple(states.seconds), angles.shoulder_tilt,
            angles.head_roll, angles.forward_lean, angles.lateral_lean, angles.neck_flexion,
            angles.hand_to_head, self._supported(stamp_ns, angles.hand_to_head), angles.ear_height,
            deviation.drop, deviation.growth, self.baseline.learned)
