"""Requests for TensorFlow Serving: what its own protos make of these bytes was tried; here, their fields are read."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfmnist.artifacts.protobuf import fields
from tfmnist.artifacts.warmup import WARMUP, write_warmup

from .conftest import IMAGES


def read(message: bytes) -> dict[int, bytes]:
    return dict(fields(message))


def test_each_signature_gets_a_request(tmp_path: Path) -> None:
    write_warmup(tmp_path, IMAGES)
    asked: dict[str, Any] = {}
    record: Any
    for record in tf.data.TFRecordDataset(str(tmp_path / WARMUP)):
        ((log, content),) = read(record.numpy()).items()
        request = read(read(content)[1])
        spec = read(request[1])
        assert spec[1] == b"tfmnist" and log == (2 if spec[3] == b"classify" else 6)
        if log == 2:
            example = tf.train.Example.FromString(read(read(request[2])[1])[1])
            asked["classify"] = example.features.feature["image/encoded"].bytes_list.value[0]
            continue
        tensor = read(request[2])
        name = f"{spec[3].decode()} {tensor[1].decode()}"
        asked[name] = tf.make_ndarray(tf.make_tensor_proto(0).FromString(tensor[2]))
    assert list(asked) == ["serving_default images", "float_images images", "image_bytes image_bytes", "classify"]
    np.testing.assert_array_equal(asked["serving_default images"], IMAGES)
    np.testing.assert_allclose(asked["float_images images"], IMAGES[:1] / 255, rtol=1e-6)
    (picture,) = asked["image_bytes image_bytes"]
    assert picture == asked["classify"] and tf.io.decode_png(picture).shape == (30, 25, 1)
