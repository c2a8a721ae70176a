# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Parts of an image meet by its stamp, and what waits is bounded."""

from __future__ import annotations

import pytest

from aitable_ros.stamp_join import StampBuffer, StampMatcher


@pytest.mark.parametrize(('order', 'pairs', 'unmatched'), [
    ('L1 R1 L2 R2', [1, 2], 0),
    ('R1 L1 R2 L2', [1, 2], 0),
    ('L1 L2 L3 R2 R3', [2, 3], 0),
    ('L1 L2 L3 L4 R1', [], 1),
    ('L1 R9 L2 R1', [1], 0),
])
def test_stamps_meet_exactly_and_memory_is_bounded(order, pairs, unmatched):
    matcher = StampMatcher(depth=3)
    met = []
    for word in order.split():
        side = matcher.left if word[0] == 'L' else matcher.right
        pair = side(int(word[1:]), word)
        if pair:
            assert pair[0][0] == 'L'
            met.append(int(pair[0][1:]))
    assert met == pairs
    assert matcher.unmatched == unmatched


def test_a_buffer_gives_what_is_due_in_the_order_of_the_stamps():
    buffer = StampBuffer()
    for stamp in (30, 10, 20, 40):
        buffer.put(stamp, str(stamp))
    assert buffer.at(20, str) == '20'
    assert buffer.at(50, str) == ''
    assert list(buffer.pop_before(30)) == [(10, '10'), (20, '20')]
    assert (buffer.get(30), buffer.pop(30), buffer.pop(30)) == ('30', '30', None)
    assert buffer.pop_all() == [(40, '40'), (50, '')]
    assert (len(buffer), buffer.dropped) == (0, 0)


def test_a_full_buffer_drops_what_was_put_first():
    buffer = StampBuffer(depth=2)
    for stamp in (3, 1, 2, 1):
        buffer.put(stamp, stamp)
    assert buffer.pop_all() == [(1, 1), (2, 2)]
    assert buffer.dropped == 1
