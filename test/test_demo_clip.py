# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The scripted clip: its pixels do what its truth says, the same every time, at any rate."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from aitable_ros.errors import InputError
from aitable_ros.tools import clip as clip_module
from aitable_ros.tools.clip import ScriptedClip, SIZES

EYES = (slice(255, 300), slice(530, 770))  # both eyes at 720p, wherever the head sways
CHIN = (slice(460, 505), slice(530, 770))


@pytest.fixture(scope='module')
def clip() -> ScriptedClip:
    return ScriptedClip()


def _steady(clip: ScriptedClip, index: int) -> NDArray[np.float32]:
    """Undo the sway and average the noise, so that only the lids are left to differ."""
    back = cv2.invertAffineTransform(clip._sway(index / clip.fps))
    image = cv2.warpAffine(
        clip.frame(index).image, back, clip.size, flags=cv2.WARP_INVERSE_MAP)
    return cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)


def test_what_the_foundation_asks_for_is_in_it(clip):
    assert (clip.frames, clip.fps, clip.duration_s) == (1800, 30.0, 60.0)
    assert clip.frame(0).image.shape == (720, 1280, 3)
    assert len(clip.truth.blinks) >= 10
    assert [round(item.duration_s, 3) for item in clip.truth.of_kind('long_closure')] == [0.8]
    assert [round(item.duration_s, 3) for item in clip.truth.of_kind('microsleep')] == [2.0]
    assert all(0.1 < blink.duration_s < 0.4 for blink in clip.truth.blinks)
    assert 0.05 < clip.truth.perclos < 0.12


def test_the_pixels_of_the_eyes_follow_the_script_and_the_rest_stays(clip):
    """Mean change of the eye region against the open eyes, over one blink and the microsleep."""
    still = _steady(clip, 0)
    (blink, *_), (sleep,) = clip.truth.blinks, clip.truth.of_kind('microsleep')
    indices = [*range(blink.start_frame - 6, blink.end_frame + 14), *range(
        sleep.start_frame - 12, sleep.end_frame + 14, 4)]
    change = [np.abs(_steady(clip, i) - still) for i in indices]
    eyes = np.array([difference[EYES].mean() for difference in change])
    chin = np.array([difference[CHIN].mean() for difference in change])
    closure = clip.truth.closure[indices]
    assert np.corrcoef(eyes, closure)[0, 1] > 0.97
    assert eyes[closure > 0.9].min() > 3 * eyes[closure < 0.02].max()
    assert chin.max() < eyes[closure > 0.9].min() / 3


def test_labelled_frames_are_those_with_the_lids_over_half_the_eye(clip):
    labelled = np.zeros(clip.frames, bool)
    for item in clip.truth.closures:
        labelled[item.start_frame:item.end_frame + 1] = True
    np.testing.assert_array_equal(labelled, clip.truth.closure >= 0.5)


def test_the_same_seed_gives_the_same_pixels_in_any_order(clip):
    again = ScriptedClip()
    for index in (1450, 3, 1799):
        np.testing.assert_array_equal(again.frame(index).image, clip.frame(index).image)
    assert not np.array_equal(clip.frame(0).image, clip.frame(1).image)
    assert ScriptedClip(seed=1).truth.labels() != clip.truth.labels()


@pytest.mark.parametrize('fps', [10, 15, 60])
def test_the_script_is_in_seconds(clip, fps):
    other = ScriptedClip(fps=fps)
    for here, there in zip(clip.truth.closures, other.truth.closures, strict=True):
        assert (here.kind, here.start_s, here.end_s) == (there.kind, there.start_s, there.end_s)
        assert abs(there.start_frame / fps - here.start_s) <= 1 / fps
        assert there.start_frame <= there.end_frame < other.frames
    assert other.frame(fps).stamp_ns == 1_000_000_000
    assert other.truth.perclos == pytest.approx(clip.truth.perclos, abs=0.015)


@pytest.mark.parametrize(('seconds', 'long', 'microsleeps', 'blinks'), [
    (4, 0, 0, 1), (12, 1, 0, 1), (20, 1, 1, 3), (90, 1, 1, 20)])
def test_a_short_clip_keeps_what_fits(seconds, long, microsleeps, blinks):
    for seed in range(20):
        truth = ScriptedClip(seconds=seconds, seed=seed).truth
        assert len(truth.of_kind('long_closure')) == long
        assert len(truth.of_kind('microsleep')) == microsleeps
        assert len(truth.blinks) >= blinks - (seconds < 20)
        starts = [item.start_s for item in truth.closures]
        gaps = np.array(starts[1:]) - [item.end_s for item in truth.closures[:-1]]
        assert all(gaps > 0.9), 'two closures would run into one'
        assert truth.closures[-1].end_s < seconds - 1.0 if truth.closures else True


@pytest.mark.parametrize('size', ['vga', '1080p'])
def test_other_sizes_show_the_same_scene(clip, size):
    image = ScriptedClip(size=SIZES[size]).frame(30).image
    assert image.shape[:2] == SIZES[size][::-1]
    height, width = 480, 640
    middle = cv2.resize(clip.frame(30).image[:, 160:1120], (width, height))
    other = cv2.resize(image, (round(image.shape[1] * height / image.shape[0]), height))
    left = (other.shape[1] - width) // 2
    other = other[:, left:left + width]
    assert np.abs(other.astype(int) - middle)[60:-60, 80:-80].mean() < 9


def test_frames_are_read_only(clip):
    with pytest.raises(ValueError):
        clip.frame(0).image[0, 0] = 0
    with pytest.raises(IndexError):
        clip.frame(1800)


@pytest.mark.parametrize(('arguments', 'says'), [
    ({'fps': 0.5}, '1 to 240 frames'),
    ({'fps': float('nan')}, '1 to 240 frames'),
    ({'seconds': 1}, '4 to 3600 seconds'),
    ({'seconds': float('inf')}, '4 to 3600 seconds'),
])
def test_bad_figures_are_refused_in_one_line(arguments, says):
    with pytest.raises(InputError, match=says) as caught:
        ScriptedClip(**arguments)
    assert '\n' not in str(caught.value)


def test_a_missing_portrait_names_the_remedy(monkeypatch):
    monkeypatch.setattr(clip_module, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match='pip install scikit-image'):
        ScriptedClip().frame(0)


def test_the_portrait_is_scikit_images_own(portrait):
    np.testing.assert_array_equal(clip_module.portrait(), portrait)


def test_labels_are_in_the_form_of_a_labels_file(clip):
    labels = clip.truth.labels()
    assert set(labels['blinks'][0]) == {'start_frame', 'end_frame'}
    assert [entry['note'] for entry in labels['closures']] == ['long_closure', 'microsleep']
    assert labels['faces'] == 1
    assert labels['perclos'] == pytest.approx(clip.truth.perclos, abs=1e-5)
