# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Our topics in bags: written beside the images, and read in place of running models."""

from __future__ import annotations

import csv
import json
from pathlib import Path
import resource
import subprocess
import sys

import cv2
from films import write_film
import numpy as np
from pyarrow import parquet
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from test_evaluation_readers import PERIOD_NS, raw, START_NS, STORE, String, write_bag

from aitable_ros.cli import main
from aitable_ros.errors import InputError
from aitable_ros.evaluation.output_tables import read_columns
from aitable_ros.message_fields import TOPICS
from aitable_ros.recordings.bag_messages import BagMessages
from aitable_ros.recordings.recorded_topics import RecordedTopics
from aitable_ros.tools.clip import ScriptedClip
from aitable_ros.types import (
    Detection, EmotionEstimate, Expression, FaceResult, FatigueAssessment, FatigueEvent,
    FatigueEventType, FatigueLevel, FatigueReason, Frame, FrameResult, ModelInfo, TrackedFace,
    Validity
)

QUICK = ('--params', str(Path(__file__).parent / 'data' / 'quick.yaml'))
Image = STORE.types['sensor_msgs/msg/Image']
Header = STORE.types['std_msgs/msg/Header']
Time = STORE.types['builtin_interfaces/msg/Time']


CLIP = ScriptedClip(fps=20.0, seconds=8, size=(640, 360))
"""Two blinks."""


def run(*arguments) -> int:
    return main(['evaluate', *map(str, (*arguments, *QUICK))])


def summary_of(folder):
    return json.loads((folder / 'summary.json').read_text())


def image_message(picture, stamp_ns):
    return Image(
        header=Header(stamp=Time(stamp_ns // 10**9, stamp_ns % 10**9), frame_id='camera'),
        height=picture.shape[0], width=picture.shape[1], encoding='rgb8', is_bigendian=0,
        step=3 * picture.shape[1], data=np.ascontiguousarray(picture).ravel())


@pytest.fixture(scope='module')
def blinking(models, tmp_path_factory):
    """Make a bag of the scripted clip, and something else beside it."""
    path = tmp_path_factory.mktemp('bags') / 'blinking'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        camera = writer.add_connection('/camera/image_raw', Image.__msgtype__, typestore=STORE)
        chat = writer.add_connection('/chatter', String.__msgtype__, typestore=STORE)
        odd = writer.add_connection('/odd', 'acme_msgs/msg/Odd', msgdef='int7 what', rihs01='x')
        for index, (frame, _) in enumerate(CLIP):
            stamp_ns = START_NS + frame.stamp_ns
            writer.write(camera, stamp_ns + 5_000_000, STORE.serialize_cdr(
                image_message(frame.image, stamp_ns), Image.__msgtype__))
            writer.write(chat, stamp_ns + 6_000_000, STORE.serialize_cdr(
                String(data=f'{index}'), String.__msgtype__))
            writer.write(odd, stamp_ns + 7_000_000, b'\x00\x01\x00\x00odd')
    return path


@pytest.fixture(scope='module')
def written(blinking, tmp_path_factory):
    """Evaluate it into a new bag."""
    folder = tmp_path_factory.mktemp('written')
    labels = folder / 'labels.json'
    labels.write_text(json.dumps(CLIP.truth.labels()))
    assert run(blinking, '--labels', labels, '--output', folder / 'out', '--write-bag',
               folder / 'bag') == 0
    return folder


def contents(path):
    with Reader(path) as reader:
        return [(c.topic, log_ns, bytes(data)) for c, log_ns, data in reader.messages()]


def test_the_new_bag_is_the_old_one_and_our_topics(blinking, written):
    before, after = contents(blinking), contents(written / 'bag')
    added = {'/faces', '/emotion', '/fatigue', '/fatigue/events'}
    assert [entry for entry in after if entry[0] not in added] == before
    ours = [entry for entry in after if entry[0] in added]
    frames = summary_of(written / 'out')['frames']
    assert sum(topic == '/faces' for topic, _, _ in ours) == frames == CLIP.frames
    assert [log for topic, log, _ in ours if topic == '/faces'] == [
        log for topic, log, _ in before if topic == '/camera/image_raw']
    logs = [log for _, log, _ in after]
    assert logs == sorted(logs)
    with Reader(written / 'bag') as reader:
        defined = {c.topic: c.msgdef.data for c in reader.connections}
        digests = {c.topic: c.digest for c in reader.connections}
    assert 'float32 perclos_long' in defined['/fatigue']
    assert 'MSG: std_msgs/Header' in defined['/fatigue'].replace('std_msgs/msg/', 'std_msgs/')
    assert defined['/odd'] == 'int7 what'
    assert digests['/fatigue'].startswith('RIHS01_')
    assert not list(written.glob('.*'))


def test_ros_reads_what_was_written_and_means_the_same(written):
    """The bytes go through rclpy's own classes and the nodes' own conversions."""
    from rclpy.serialization import deserialize_message

    from aitable_msgs import msg
    from aitable_ros.message_codec import faces_of
    from aitable_ros.nodes.messages import CODEC

    kinds = {'/faces': msg.FaceArray, '/emotion': msg.Emotion, '/fatigue': msg.FatigueState,
             '/fatigue/events': msg.FatigueEvent}
    heard = {name: [] for name in kinds}
    for topic, _, data in contents(written / 'bag'):
        if topic in kinds:
            heard[topic].append(deserialize_message(data, kinds[topic]))
    path = written / 'out' / 'frames.parquet'
    table = read_columns(path, (
        'openness', 'perclos', 'blink_count', 'mean_blink_s', 'closure_s', 'valence',
        'x1', 'primary'))
    there = table['primary'] == 1
    states = [CODEC.fatigue_of(m) for m in heard['/fatigue'] if m.primary]
    stamps = parquet.read_table(path, columns=['stamp_ns'])['stamp_ns'].to_numpy()
    assert [state.stamp_ns for state in states] == stamps[there].tolist()
    for name in ('openness', 'perclos', 'blink_count', 'mean_blink_s', 'closure_s'):
        np.testing.assert_allclose(
            [getattr(state, name) for state in states], table[name][there], rtol=1e-6)
    np.testing.assert_allclose(
        [CODEC.emotion_of(m).valence for m in heard['/emotion'] if m.primary],
        table['valence'][there], rtol=1e-6)
    boxes = [face.box[0] for m in heard['/faces'] for face in faces_of(m) if face.primary]
    np.testing.assert_allclose(boxes, table['x1'][there].clip(0), atol=0.51)
    with (written / 'out' / 'events.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    events = [CODEC.event_of(m) for m in heard['/fatigue/events']]
    assert [(e.type.name, e.start_ns) for e in events] == [
        (row['type'], int(row['start_ns'])) for row in rows]
    assert any(event.type is FatigueEventType.BLINK for event in events)


def test_recorded_topics_give_the_figures_of_the_evaluation(written, tmp_path):
    assert run(written / 'bag', '--from-topics', '--labels', written / 'labels.json', '--output',
               tmp_path / 'topics') == 0
    one, two = summary_of(written / 'out'), summary_of(tmp_path / 'topics')
    assert len(one['blinks']) >= 2
    assert one['closed_s'] > 0.05
    for key in set(one) - {'input', 'topic'}:
        assert one[key] == two[key], key
    assert one['scores']['blink']['tp'] >= 2
    assert (tmp_path / 'topics' / 'events.csv').read_text() == (
        written / 'out' / 'events.csv').read_text()


def test_an_existing_bag_and_the_input_are_never_overwritten(blinking, tmp_path, capsys):
    there = tmp_path / 'there'
    there.mkdir()
    (there / 'mine').write_text('keep')
    assert run(blinking, '--output', tmp_path / 'out', '--write-bag', there) == 2
    assert 'there: exists already' in capsys.readouterr().err
    assert (there / 'mine').read_text() == 'keep'
    assert not (tmp_path / 'out' / 'frames.parquet').exists()
    assert run(blinking, '--output', tmp_path / 'out', '--write-bag', blinking) == 2
    assert run(blinking, '--output', tmp_path / 'out', '--write-bag', blinking / 'new') == 2
    assert 'is within the input' in capsys.readouterr().err


def test_a_video_becomes_a_bag_with_jpeg_images(models, tmp_path):
    clip = ScriptedClip(fps=20.0, seconds=4, size=(640, 360))
    video = write_film(tmp_path / 'clip.avi', (frame.image for frame, _ in clip), 20)
    assert run(video, '--output', tmp_path / 'one', '--write-bag', tmp_path / 'bag') == 0
    assert run(tmp_path / 'bag', '--output', tmp_path / 'two') == 0
    assert run(tmp_path / 'bag', '--from-topics', '--output', tmp_path / 'three') == 0
    one, two, three = (summary_of(tmp_path / name) for name in ('one', 'two', 'three'))
    assert two['topic'] == '/camera/image_raw/compressed'
    assert one['frames'] == two['frames'] == three['frames'] == 80
    assert three['blinks'] == one['blinks'] != []
    assert not two['notes']
    assert three['expression_share'] == one['expression_share']
    assert two['face_ratio'] == 1


@pytest.mark.parametrize(('make', 'said'), [
    ('stills', 'takes a bag with a camera topic or a video'),
    ('topics', 'takes a bag with a camera topic or a video')])
def test_what_has_no_time_or_no_images_cannot_become_a_bag(
        written, portrait, tmp_path, capsys, make, said):
    if make == 'stills':
        cv2.imwrite(str(tmp_path / 'face.png'), portrait)
        arguments = [tmp_path / 'face.png']
    else:
        arguments = [written / 'bag', '--from-topics']
    assert run(*arguments, '--output', tmp_path / 'o', '--write-bag', tmp_path / 'new') == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('mode', [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_topics_of_our_names_and_compressed_sqlite_are_copied(models, tmp_path, mode):
    bag = write_bag(
        tmp_path / 'bag', {'/image': [raw(i) for i in range(5)], '/fatigue': [String(data='old')]},
        StoragePlugin.SQLITE3, mode)
    assert run(bag, '--output', tmp_path / 'out', '--write-bag', tmp_path / 'new') == 0
    topics = [topic for topic, _, _ in contents(tmp_path / 'new')]
    assert topics.count('/fatigue') == 1
    assert topics.count('/aitable/fatigue') == topics.count('/image') == 5
    assert any('/aitable' in note for note in summary_of(tmp_path / 'out')['notes'])


def test_a_full_disk_keeps_the_results_and_leaves_no_half_bag(blinking, tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))
    done = subprocess.run(
        [sys.executable, '-m', 'aitable_ros', 'evaluate', str(blinking), '--output',
         str(tmp_path / 'out'), '--write-bag', str(tmp_path / 'bag'), *QUICK],
        capture_output=True, text=True, preexec_fn=small_files)
    assert done.returncode == 2
    assert f'{tmp_path}/bag: cannot be written' in done.stderr
    assert 'Traceback' not in done.stderr
    assert 10 < summary_of(tmp_path / 'out')['frames'] < CLIP.frames
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out']


# --- recorded topics, made by hand ----------------------------------------------------------------

MODEL = ModelInfo('m', 'onnxruntime', 'fp32')
MESSAGES = BagMessages()


def answer(index, *, events=(), faces=1, level=FatigueLevel.ALERT):
    """Make what the nodes say about one image."""
    stamp_ns = START_NS + index * PERIOD_NS
    people = tuple(
        FaceResult(
            face=TrackedFace(7 + i, Detection(np.array([10, 5, 20, 15], np.float32), 0.9), i == 0),
            emotion=EmotionEstimate(7 + i, Expression.SAD, 0.5, np.eye(8, dtype='f4')[2], -0.25),
            fatigue=FatigueAssessment(
                7 + i, stamp_ns, Validity.VALID, level, FatigueReason.PERCLOS, openness=1.0,
                head_pitch=0.0, calibrated=True))
        for i in range(faces))
    absent = () if faces else (FatigueAssessment(0, stamp_ns, Validity.NO_FACE),)
    models = {'face': MODEL, 'mesh': MODEL, 'emotion': MODEL}
    return FrameResult(stamp_ns, people, absent, tuple(events), models, {})


def record(path, results, *, namespaces=('',), images=(), roles=tuple(TOPICS), delay=0):
    """Write what nodes said, and images where there are any; answers come ``delay`` images late."""
    frame_image = np.zeros((24, 32, 3), np.uint8)
    with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {}
        for namespace in namespaces:
            for role in roles:
                text, digest = MESSAGES.definition(TOPICS[role])
                connections[namespace, role] = writer.add_connection(
                    f'{namespace}/{role}', TOPICS[role], msgdef=text, rihs01=digest)
        messages = []
        for result in results:
            frame = Frame(frame_image, result.stamp_ns, 'camera')
            for namespace in namespaces:
                messages += [
                    (result.stamp_ns + delay * PERIOD_NS + 1, connections[namespace, role], data)
                    for role, data in MESSAGES.encode(result, frame) if role in roles]
        if images:
            camera = writer.add_connection('/image', Image.__msgtype__, typestore=STORE)
            messages += [
                (START_NS + index * PERIOD_NS, camera,
                 bytes(STORE.serialize_cdr(raw(index), Image.__msgtype__))) for index in images]
        for log_ns, connection, data in sorted(messages, key=lambda entry: entry[0]):
            writer.write(connection, log_ns, data)
    return path


def read(path, namespace=None):
    source = RecordedTopics(path, namespace)
    return [frame.result for frame in source], source


OLD_VALUES = {
    'validity': {Validity.VALID: 0, Validity.NO_FACE: 2},
    'level': {FatigueLevel.ALERT: 0, FatigueLevel.SEVERE: 2, FatigueLevel.UNKNOWN: 255},
    'type': {FatigueEventType.BLINK: 0, FatigueEventType.MICROSLEEP: 2}}
"""Field -> its values in aitable_msgs 0.1, from ``data/aitable_msgs_0_1``."""


TOPICS_0_1 = ('faces', 'emotion', 'fatigue', 'fatigue/events')


def record_0_1(path, results, roles, images=()):
    """Write what nodes of aitable_ros 0.1 would have said."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for file in sorted((Path(__file__).parent / 'data' / 'aitable_msgs_0_1').glob('*.msg')):
        store.register(get_types_from_msg(file.read_text(), f'aitable_msgs/msg/{file.stem}'))
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {role: writer.add_connection(f'/{role}', TOPICS[role], typestore=store)
                       for role in roles}
        for result in results:
            frame = Frame(np.zeros((24, 32, 3), np.uint8), result.stamp_ns, 'camera')
            for role, new in MESSAGES.codec.messages_of(result, frame):
                if role not in roles:
                    continue
                old = store.types[TOPICS[role]](**{
                    name: OLD_VALUES[name][getattr(new, name)] if name in OLD_VALUES
                    else getattr(new, name) for name, _ in store.fielddefs[TOPICS[role]][1]})
                writer.write(connections[role], result.stamp_ns, store.serialize_cdr(
                    old, TOPICS[role]))
        if images:
            camera = writer.add_connection('/image', Image.__msgtype__, typestore=STORE)
            for index in images:
                writer.write(camera, START_NS + index * PERIOD_NS, STORE.serialize_cdr(
                    raw(index), Image.__msgtype__))
    return path


@pytest.mark.parametrize('roles', [TOPICS_0_1, ('faces', 'fatigue/events')])
def test_a_bag_of_aitable_msgs_0_1_means_what_it_meant_then(tmp_path, roles):
    events = [
        FatigueEvent(7, FatigueEventType.BLINK, START_NS, 0.1, FatigueLevel.ALERT),
        FatigueEvent(7, FatigueEventType.MICROSLEEP, START_NS, 1.75, FatigueLevel.SEVERE)]
    results = [answer(0, level=FatigueLevel.UNKNOWN), answer(1, level=FatigueLevel.SEVERE),
               answer(2, events=events), answer(3, faces=0)]
    found, _ = read(record_0_1(tmp_path / 'bag', results, roles))
    assert [result.events for result in found] == [(), (), tuple(events), ()]
    if 'fatigue' in roles:
        assert [result.primary.fatigue.level for result in found[:3]] == [
            FatigueLevel.UNKNOWN, FatigueLevel.SEVERE, FatigueLevel.ALERT]
        assert {result.primary.fatigue.validity for result in found[:3]} == {Validity.VALID}
        assert {result.primary.fatigue.reasons for result in found[:3]} == {FatigueReason.PERCLOS}
        assert np.isnan(found[0].primary.fatigue.perclos_p80)
        assert [state.validity for state in found[3].absent] == [Validity.NO_FACE]
        assert found[0].primary.emotion.expression is Expression.SAD
        assert run(tmp_path / 'bag', '--from-topics', '--output', tmp_path / 'out') == 0
        assert summary_of(tmp_path / 'out')['level_max'] == 'SEVERE'
        assert summary_of(tmp_path / 'out')['events']['MICROSLEEP'] == 1


def test_a_written_bag_has_no_second_version_of_a_type(models, tmp_path):
    roles = ('faces', 'fatigue')
    old = record_0_1(tmp_path / 'old', [answer(i) for i in range(5)], roles, images=range(5))
    assert run(old, '--output', tmp_path / 'out', '--write-bag', tmp_path / 'new') == 0
    assert any('/fatigue is left out of the written bag' in note
               for note in summary_of(tmp_path / 'out')['notes'])
    topics = {topic for topic, _, _ in contents(tmp_path / 'new')}
    assert {'/image', '/aitable/fatigue', '/aitable/faces'} <= topics
    assert '/fatigue' not in topics
    found, _ = read(tmp_path / 'new', 'aitable')
    assert {state.validity for result in found for state in result.absent} == {Validity.NO_FACE}


def test_images_without_an_answer_are_counted_and_number_the_frames(tmp_path):
    kept = [index for index in range(100) if index % 10 != 3]
    blink = FatigueEvent(
        7, FatigueEventType.BLINK, START_NS + 50 * PERIOD_NS, 0.099, FatigueLevel.ALERT)
    results = [answer(i, events=[blink] if i == 60 else []) for i in kept]
    record(tmp_path / 'bag', results, images=range(100), delay=9)
    found, source = read(tmp_path / 'bag')
    assert len(found) == 100
    assert [i for i, result in enumerate(found) if result.faces] == kept
    assert any('10 of 100 images have no recorded answer' in note for note in source.notes)
    assert run(tmp_path / 'bag', '--from-topics', '--output', tmp_path / 'out') == 0
    summary = summary_of(tmp_path / 'out')
    assert [(b['start_frame'], b['end_frame']) for b in summary['blinks']] == [(50, 53)]
    assert summary['level_max'] == 'ALERT'
    assert summary['expression_share'] == {'sad': 1.0}
    assert summary['backend']['mesh'] == {
        'model': 'm', 'backend': 'onnxruntime', 'precision': 'fp32'}


@pytest.mark.parametrize(('roles', 'faces'), [
    (tuple(TOPICS), 2), (('fatigue',), 2), (('fatigue', 'fatigue/events'), 1),
    (('emotion',), 2), (('faces', 'emotion'), 1), (('faces',), 2)])
def test_any_of_our_topics_will_do(tmp_path, roles, faces):
    record(tmp_path / 'bag', [answer(i, faces=faces) for i in range(5)], roles=roles)
    found, _ = read(tmp_path / 'bag')
    assert [len(result.faces) for result in found] == [faces] * 5
    assert all(result.primary.face.track_id == 7 for result in found)
    assert all((result.primary.fatigue is not None) == ('fatigue' in roles) for result in found)
    assert all((result.primary.emotion is not None) == ('emotion' in roles) for result in found)


def test_nobody_in_the_image_is_no_face(tmp_path):
    record(tmp_path / 'bag', [answer(i, faces=0) for i in range(5)])
    found, _ = read(tmp_path / 'bag')
    assert [len(result.faces) for result in found] == [0] * 5
    assert all(result.absent[0].validity is Validity.NO_FACE for result in found)


def test_of_several_sets_of_nodes_the_namespace_chooses(tmp_path):
    bag = record(tmp_path / 'bag', [answer(i) for i in range(5)], namespaces=('/left', '/right'))
    with pytest.raises(InputError, match='choose a namespace with --topic: /left, /right'):
        read(bag)
    assert len(read(bag, 'left')[0]) == 5
    assert read(bag, '/right/fatigue')[1].topic == '/right'
    with pytest.raises(InputError, match="in '/up'; namespaces: /left, /right"):
        read(bag, '/up')
    assert run(bag, '--from-topics', '--topic', '*', '--output', tmp_path / 'out') == 0
    assert {path.name for path in (tmp_path / 'out').iterdir() if path.is_dir()} == {
        'left', 'right'}


def test_a_recording_played_in_a_loop_begins_anew(tmp_path):
    results = [answer(i) for i in range(400)]
    picture = np.zeros((24, 32, 3), np.uint8)
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        text, digest = MESSAGES.definition(TOPICS['fatigue'])
        topic = writer.add_connection('/fatigue', TOPICS['fatigue'], msgdef=text, rihs01=digest)
        log_ns = START_NS
        for result in (*results, *results):
            log_ns += PERIOD_NS
            for role, data in MESSAGES.encode(result, Frame(picture, result.stamp_ns)):
                if role == 'fatigue':
                    writer.write(topic, log_ns, data)
    found, _ = read(tmp_path / 'bag')
    assert [result.stamp_ns for result in found] == [
        result.stamp_ns for result in (*results, *results)]


@pytest.mark.parametrize(('make', 'said'), [
    (lambda folder: folder / 'gone', 'gone: no such file or folder'),
    (lambda folder: write_bag(folder / 'bag', {'/image': [raw(0)]}),
     'nothing recorded of our topics'),
    (lambda folder: record(folder / 'bag', []), 'nothing recorded of our topics')])
def test_without_our_topics_there_is_one_line(tmp_path, make, said):
    with pytest.raises(InputError, match=said):
        read(make(tmp_path))


def test_a_message_of_another_version_is_said_to_be(tmp_path):
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        text, digest = MESSAGES.definition(TOPICS['fatigue'])
        topic = writer.add_connection(
            '/fatigue', TOPICS['fatigue'], msgdef=text, rihs01=digest)
        writer.write(topic, START_NS, b'\x00\x01\x00\x00short')
    with pytest.raises(InputError, match='does not fit its definition'):
        read(tmp_path / 'bag')


def test_a_damaged_definition_is_replaced_by_the_installed_one(tmp_path):
    result = answer(0)
    frame = Frame(np.zeros((24, 32, 3), np.uint8), result.stamp_ns, 'camera')
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection(
            '/fatigue', TOPICS['fatigue'], msgdef='float32 ][ \x00', rihs01='x')
        for role, data in MESSAGES.encode(result, frame):
            if role == 'fatigue':
                writer.write(topic, START_NS, data)
    found, _ = read(tmp_path / 'bag')
    assert found[0].primary.fatigue.level is FatigueLevel.ALERT
