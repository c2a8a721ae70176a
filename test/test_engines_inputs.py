# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Real inputs for a model: what inference feeds it, spread evenly, and where each comes from."""

from __future__ import annotations

import json
from pathlib import Path

from album import pictures, write_album, write_video
import numpy as np
import pytest
from rosbags.rosbag2 import Writer
from test_evaluation_readers import raw, STORE

from aitable_ros.emotion.reader import EmotionOptions, EmotionReader
from aitable_ros.engines.model_inputs import _evenly, _spread, collect_inputs, JUDGING
from aitable_ros.engines.recording_stages import STEP_NS
from aitable_ros.engines.stage_backends import RecordingBackend
from aitable_ros.errors import InputError
from aitable_ros.face.finder import FaceFinder
from aitable_ros.fatigue.monitor import FatigueMonitor
from aitable_ros.fatigue.options import FatigueOptions
from aitable_ros.models.catalogue import card
from aitable_ros.types import Frame

COUNT = 20


@pytest.fixture(scope='module')
def album(models, portrait, tmp_path_factory) -> Path:
    return write_album(tmp_path_factory.mktemp('album') / 'a', portrait, COUNT)


@pytest.fixture(scope='module')
def video(models, portrait, tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp('video') / 'v.avi', portrait, 60)


@pytest.mark.parametrize(('model', 'shape', 'low', 'rows'), [
    ('fer', (1, 64, 64), -1, 2), ('facemesh', (192, 192, 3), 0, 1),
    ('blazeface_full', (192, 192, 3), -1, 1), ('blazeface_short', (128, 128, 3), -1, 1),
])
def test_every_model_gets_its_own_inputs(album_inputs, model, shape, low, rows):
    found = album_inputs[model]
    (name, array), = found.inputs.items()
    assert (found.model, found.task, found.rows) == (model, card(model).task, rows)
    assert name == card(model).inputs[0].name
    assert array.shape == (36 * rows, *shape)
    assert array.dtype == np.float32
    assert low <= array.min() < array.max() <= 1
    assert len(found) == len(found.samples) == 36
    json.dumps(found.to_dict())


@pytest.mark.parametrize(('model', 'stage'), [('facemesh', 'fatigue'), ('fer', 'emotion')])
def test_they_are_what_the_pipeline_feeds_the_model_in_its_second_frame(
        album, portrait, model, stage):
    found = collect_inputs(model, album, COUNT)
    recorded: list[RecordingBackend] = []

    def load(key, make):
        recorded.append(RecordingBackend(make()))
        return recorded[-1]

    options = FatigueOptions() if stage == 'fatigue' else EmotionOptions(model=model)
    kind = FatigueMonitor if stage == 'fatigue' else EmotionReader
    image = pictures(portrait, COUNT)[7]
    with FaceFinder.open() as finder, FatigueMonitor.open() as monitor, kind.open(
            options, load) as reader:
        backend = recorded[0]
        backend.take()  # of the check when it was opened
        for stamp_ns in (10, 10 + STEP_NS):
            first = backend.take()
            frame = Frame(image, stamp_ns)
            faces = finder.update(frame)
            followed = monitor.update(frame, faces)
            for face in faces:
                finder.follow(face.track_id, followed.landmarks.get(face.track_id))
            if stage == 'emotion':
                reader.reset()
            reader.update(frame, faces)
        rows = np.concatenate([row['image'] for row in backend.take()])
    at = [sample.file for sample in found.samples].index('007.png') * found.rows
    assert np.array_equal(found.inputs['image'][at:at + found.rows], rows)
    assert not np.array_equal(first[0]['image'], rows[:1])  # a face found is not one followed


def test_a_video_is_seen_from_end_to_end_and_other_frames_judge_than_calibrate(video):
    one, other = (collect_inputs('facemesh', video, 20, phase=phase) for phase in (0.25, JUDGING))
    frames = [sample.frame for sample in one.samples]
    assert frames == sorted(frames)
    assert frames[0] < 4
    assert frames[-1] > 54
    assert max(np.diff(frames)) <= 6
    assert not set(frames) & {sample.frame for sample in other.samples}
    assert one.sha256 != other.sha256
    assert one.sha256 == collect_inputs('facemesh', video, 20, phase=0.25).sha256


def test_no_recording_stands_for_all(video, album):
    folder = video.parent
    (folder / 'pictures').mkdir()
    for path in sorted(album.iterdir())[:4]:
        (folder / 'pictures' / path.name).write_bytes(path.read_bytes())
    found = collect_inputs('facemesh', folder, 16)
    files = [sample.file for sample in found.samples]
    assert {'v.avi', 'pictures/000.png', 'pictures/003.png'} <= set(files)
    assert files.count('v.avi') == 12
    few = [sample.file for sample in collect_inputs('facemesh', folder, 4).samples]
    assert len(set(few)) == 4
    assert len(collect_inputs('facemesh', folder, 16, per_file=2, minimum=6)) == 6


def test_a_bag_is_read_with_its_stamps(models, portrait, tmp_path):
    stamps = [1_000_000_000 + index * 40_000_000 for index in range(20)]
    with Writer(tmp_path / 'bag', version=9) as writer:
        connection = writer.add_connection('/image', raw(0).__msgtype__, typestore=STORE)
        for stamp, image in zip(stamps, pictures(portrait, len(stamps))):
            message = raw(0)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10 ** 9)
            message.height, message.width, _ = image.shape
            message.step, message.encoding = image.shape[1] * 3, 'rgb8'
            message.data = image.reshape(-1)
            writer.write(connection, stamp, STORE.serialize_cdr(message, message.__msgtype__))
    found = collect_inputs('facemesh', tmp_path / 'bag', 16)
    assert [sample.stamp_ns for sample in found.samples] == [
        stamps[sample.frame] for sample in found.samples]
    assert {sample.file for sample in found.samples} == {'bag'}


def test_too_few_faces_are_counted(models, tmp_path, portrait):
    folder = write_album(tmp_path / 'few', portrait, 3)
    with pytest.raises(InputError, match=r'few: 3 inputs with a face found for facemesh, at least '
                                         r'16'):
        collect_inputs('facemesh', folder, 64)
    assert len(collect_inputs('facemesh', folder, 3)) == 3


@pytest.mark.parametrize(('arrays', 'reason'), [
    ({'picture': np.zeros((20, 192, 192, 3))}, r"has arrays \['picture'\], .* takes \['image'\]"),
    ({'image': np.zeros((20, 64, 64, 3))}, r"'image' is \[20, 64, 64, 3\]"),
    ({'image': np.zeros((9, 192, 192, 3))}, '9 rows found'),
    (None, r'no \.npz file'),
])
def test_arrays_of_ones_own_must_fit(models, tmp_path, arrays, reason):
    path = tmp_path / 'own.npz'
    np.savez(path, **arrays) if arrays else path.write_text('no')
    with pytest.raises(InputError, match=reason):
        collect_inputs('facemesh', path, 64)


def test_arrays_of_ones_own_serve_any_model(models, tmp_path):
    import onnx

    node = onnx.helper.make_node('Relu', ['x'], ['y'])
    value = [onnx.helper.make_tensor_value_info(name, 1, ['N', 3]) for name in 'xy']
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], 'g', value[:1], value[1:]), ir_version=8,
        opset_imports=[onnx.helper.make_opsetid('', 17)])
    onnx.save(model, tmp_path / 'any.onnx')
    np.savez(tmp_path / 'x.npz', x=np.arange(120).reshape(40, 3))
    found = collect_inputs(tmp_path / 'any.onnx', tmp_path / 'x.npz', 20)
    assert found.task == ''
    assert found.inputs['x'].shape == (20, 3)
    assert found.inputs['x'].dtype == np.float32
    with pytest.raises(InputError, match='no stage of the pipeline runs it'):
        collect_inputs(tmp_path / 'any.onnx', tmp_path, 20)


def test_an_empty_folder_says_so(models, tmp_path):
    with pytest.raises(InputError, match='no picture, video or rosbag2'):
        collect_inputs('facemesh', tmp_path, 20)


@pytest.mark.parametrize(('lengths', 'wanted', 'shares'), [
    ([100], 10, [10]), ([100, 100], 10, [5, 5]), ([2, 100], 10, [2, 8]), ([1, 1], 10, [1, 1]),
    ([0, 5], 4, [0, 4]), ([1, 1, 1], 2, [1, 0, 1]),
])
def test_frames_are_shared_out_fairly(lengths, wanted, shares):
    assert _spread(lengths, wanted) == shares


def test_evenly_means_one_from_each_part():
    assert _evenly(10, 5).tolist() == [1, 3, 5, 7, 9]
    assert _evenly(3, 3).tolist() == [0, 1, 2]
    assert _evenly(0, 0).tolist() == []


def test_some_of_them_keep_their_rows_together(album):
    found = collect_inputs('fer', album, 16)
    few = found.some(4)
    assert len(few) == 4
    at = found.samples.index(few.samples[1])
    assert np.array_equal(few.inputs['image'][2:4], found.inputs['image'][2 * at:2 * at + 2])
