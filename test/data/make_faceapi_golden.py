# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Make ``faceexpress_golden.npz``: what face-api.js itself says of seeded noise, a ramp and a face.

Run once, in a folder of its own, with node and scikit-image there:
``npm install @vladmandic/face-api@1.7.15 @tensorflow/tfjs@4 @tensorflow/tfjs-backend-wasm@4 &&
python make_faceapi_golden.py``.
"""

import json
from pathlib import Path
import subprocess
import tempfile

import numpy as np
from skimage import data

SCRIPT = """
const fs = require('fs');
const faceapi = require('@vladmandic/face-api/dist/face-api.node-wasm.js');
(async () => {
  const tf = faceapi.tf, [images, answers] = process.argv.slice(1);
  await tf.setBackend('cpu');
  const model = 'node_modules/@vladmandic/face-api/model/face_expression_model';
  const weights = fs.readFileSync(model + '.bin');
  const manifest = JSON.parse(fs.readFileSync(model + '-weights_manifest.json'));
  const net = new faceapi.FaceExpressionNet();
  net.loadFromWeightMap(tf.io.decodeWeights(
    weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length),
    manifest.flatMap(group => group.weights)));
  const pixels = Float32Array.from(fs.readFileSync(images)), rows = [];
  for (const image of tf.unstack(tf.tensor4d(pixels, [pixels.length / 37632, 112, 112, 3])))
    rows.push(Array.from(await (await net.forward(image.expandDims(0))).data()));
  fs.writeFileSync(answers, JSON.stringify(rows));
})();
"""


def images():
    """``(5, 112, 112, 3)`` uint8 RGB: three of noise, a ramp, and the astronaut's face."""
    noise = np.random.RandomState(0).randint(0, 256, (3, 112, 112, 3))
    down, right = np.mgrid[:112, :112] * 2
    ramp = np.stack([down, right, 255 - down], axis=-1)[None]
    return np.concatenate([noise, ramp, data.astronaut()[70:182, 166:278][None]]).astype(np.uint8)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        pixels, answers = Path(folder) / 'images', Path(folder) / 'answers.json'
        pixels.write_bytes(images().tobytes())
        subprocess.run(['node', '-e', SCRIPT, str(pixels), str(answers)], check=True)
        np.savez_compressed(
            Path(__file__).with_name('faceexpress_golden.npz'),
            probs=np.array(json.loads(answers.read_text()), np.float32))
