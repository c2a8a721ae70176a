# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What can wait lets the fatigue of an image go first, and is not held up where there is none."""

from __future__ import annotations

from threading import Thread

import pytest

pytest.importorskip('rclpy')
from aitable_ros.nodes import channel


def passed(precedence: channel.Precedence, within_s: float) -> bool:
    """Tell whether a thread that gives way gets past in that time."""
    thread = Thread(target=precedence.give_way, daemon=True)
    thread.start()
    thread.join(within_s)
    return not thread.is_alive()


def test_who_gives_way_waits_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, 'PATIENCE_S', 60.0)
    precedence = channel.Precedence()
    precedence.claim()
    waiting = Thread(target=precedence.give_way, daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    precedence.answered()
    waiting.join(30)
    assert not waiting.is_alive()
    assert passed(precedence, 30)


def test_nobody_waits_where_nobody_asked_or_no_answer_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert passed(channel.Precedence(), 30)
    monkeypatch.setattr(channel, 'PATIENCE_S', 0.01)
    precedence = channel.Precedence()
    precedence.claim()
    assert passed(precedence, 30)
