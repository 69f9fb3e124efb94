"""Reads a picture file as a number, from left to right, with what the model saw of each digit."""

import io
from typing import Any

import numpy as np
from PIL import Image

from tfmnist.artifacts.exported import Exported
from tfmnist.artifacts.photo_predictions import PhotoPrediction
from tfmnist.photos.files import to_readable
from tfmnist.photos.normalize import are_digits, split_digits
from tfmnist.photos.status import Status
from tfmnist.system.pictures import UnreadablePicture


def read_number(model: Exported, content: bytes) -> dict[str, Any]:
    """Reads a picture file of any format that Pillow knows, as a number, or as one class if the classes are not digits.

    Returns:
        `text`, what was read, "" if nothing; `status`, 0 or why not; `message`, the reason in words; and `digits`, each
        with its `class`, `confidence`, whether that makes it `sure`, `probabilities` by class, and `normalized`,
        uint8 `[height, width]`.

    Raises:
        InputError: the model does not say what its images look like.
    """
    reason = ""
    try:
        content = to_readable(content)
    except UnreadablePicture as error:
        reason = str(error)
    seen, status = split_digits(content, model.image_format, are_digits(model.class_names))
    if status != Status.READ:
        return {"text": "", "status": int(status), "message": reason or status.explain(), "digits": []}
    prediction = PhotoPrediction(model.class_names, seen, model.predict(seen).probabilities, split=True)
    digits = [
        {
            "class": model.class_names[int(row.argmax())],
            "confidence": float(row.max()),
            "sure": float(row.max()) >= model.threshold,
            "probabilities": dict(zip(model.class_names, row.tolist())),
            "normalized": image,
        }
        for row, image in zip(prediction.probabilities, seen)
    ]
    return {"text": prediction.number, "status": 0, "message": "", "digits": digits}


def _draw_example() -> bytes:
    file = io.BytesIO()
    pixels = np.full([40, 40], 255, np.uint8)
    pixels[8:32, 18:22] = 0
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


EXAMPLE_PICTURE = _draw_example()  # a stroke of ink, to warm up a model
