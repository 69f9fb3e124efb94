"""Warm-up requests, which TensorFlow Serving replays before it serves a version.

They are `tensorflow.serving.PredictionLog` records, encoded here to avoid its Python package.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfmnist.artifacts.card import EXTRA
from tfmnist.artifacts.protobuf import field

WARMUP = f"{EXTRA}/tf_serving_warmup_requests"

# numbers of fields in tensorflow_serving/apis: prediction_log, predict, classification, input and model .proto
_CLASSIFY_LOG, _PREDICT_LOG, _REQUEST, _SPEC, _INPUTS, _EXAMPLE_LIST, _EXAMPLE = 2, 6, 1, 1, 2, 1, 1
_NAME, _SIGNATURE, _KEY, _VALUE = 1, 3, 1, 2


def write_warmup(version: Path, images: np.ndarray) -> None:
    """Writes one request per signature to a version's folder, with n = 1, and one with all images.

    Args:
        version: the version's folder.
        images: uint8 `[n, height, width]`, n at least 1; light digits on black, for the picture file.
    """
    one, units = images[:1], images[:1].astype(np.float32) / 255.0
    picture = tf.io.encode_png(255 - np.kron(one[0], np.ones([5, 5], np.uint8))[..., np.newaxis]).numpy()
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture]))
    example = tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature}))
    classified = field(_INPUTS, field(_EXAMPLE_LIST, field(_EXAMPLE, example.SerializeToString())))
    logs = [
        _predict("serving_default", {"images": one}),
        _predict("serving_default", {"images": images}),
        _predict("float_images", {"images": units}),
        _predict("image_bytes", {"image_bytes": np.array([picture], object)}),
        field(_CLASSIFY_LOG, field(_REQUEST, _spec("classify") + classified)),
    ]
    (version / WARMUP).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version / WARMUP)) as writer:
        for log in logs:
            writer.write(log)


def _predict(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    tensors = b"".join(
        field(_INPUTS, field(_KEY, name.encode()) + field(_VALUE, tf.make_tensor_proto(array).SerializeToString()))
        for name, array in inputs.items()
    )
    return field(_PREDICT_LOG, field(_REQUEST, _spec(signature) + tensors))


def _spec(signature: str) -> bytes:
    return field(_SPEC, field(_NAME, b"tfmnist") + field(_SIGNATURE, signature.encode()))
