# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""
Make ``facemesh_golden.npz``: what MediaPipe's own attention mesh says of crops of a photograph.

Run once, in an environment of its own (mediapipe 0.10.21 wants numpy 1):
``pip install mediapipe==0.10.21 scikit-image``. Each crop is cut out of scikit-image's astronaut,
its pixels doubled where it is a narrow one, so that it is 192 x 192 and the whole region of
interest: nothing is resampled before the network. The landmarks are pixels of those 192.
"""

from pathlib import Path

import mediapipe as mp
import numpy as np
from skimage import data

# top, left, side: the face in the middle, then so close to a border that the network's own crop of
# an eye resp. the lips reaches 4 px beyond
CROPS = ((34, 129, 192), (78, 174, 96), (70, 190, 96))
GRAPH = """
  input_stream: "image"
  input_stream: "roi"
  output_stream: "landmarks"
  node {
    calculator: "ConstantSidePacketCalculator"
    output_side_packet: "PACKET:with_attention"
    options: {
      [mediapipe.ConstantSidePacketCalculatorOptions.ext]: { packet { bool_value: true } }
    }
  }
  node {
    calculator: "FaceLandmarkCpu"
    input_stream: "IMAGE:image"
    input_stream: "ROI:roi"
    input_side_packet: "WITH_ATTENTION:with_attention"
    output_stream: "LANDMARKS:landmarks"
  }
"""


def main():
    from mediapipe.framework.formats import landmark_pb2, rect_pb2
    from mediapipe.python._framework_bindings import resource_util

    resource_util.set_resource_dir(str(Path(mp.__file__).parents[1]))
    image = data.astronaut()
    found = []
    for top, left, side in CROPS:
        crop = image[top:top + side, left:left + side]
        crop = np.ascontiguousarray(crop.repeat(192 // side, axis=0).repeat(192 // side, axis=1))
        results = []
        graph = mp.CalculatorGraph(graph_config=GRAPH)
        graph.observe_output_stream(
            'landmarks', lambda _, packet, results=results: results.append(
                mp.packet_getter.get_proto(packet)))
        graph.start_run()
        roi = rect_pb2.NormalizedRect(x_center=0.5, y_center=0.5, width=1, height=1)
        graph.add_packet_to_input_stream('image', mp.packet_creator.create_image_frame(
            image_format=mp.ImageFormat.SRGB, data=crop).at(0))
        graph.add_packet_to_input_stream('roi', mp.packet_creator.create_proto(roi).at(0))
        graph.close_all_packet_sources()
        graph.wait_until_done()
        (landmarks,) = results
        assert isinstance(landmarks, landmark_pb2.NormalizedLandmarkList)
        found.append([(p.x * 192, p.y * 192, p.z * 192) for p in landmarks.landmark])
    np.savez_compressed(
        Path(__file__).with_name('facemesh_golden.npz'), crops=np.array(CROPS),
        landmarks=np.array(found, np.float32))


if __name__ == '__main__':
    main()
