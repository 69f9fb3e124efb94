"""The model card of an exported model: how it was trained, and its inputs and outputs. No TensorFlow."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tfmnist.photos.status import Status

EXTRA = "assets.extra"
_FILE = f"{EXTRA}/model_card.json"


_Size = Annotated[int, Field(ge=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]


class ModelCard(BaseModel):
    """`assets.extra/model_card.json`; fields that a card, perhaps of an older version, lacks are None."""

    model_config = ConfigDict(frozen=True, extra="allow")

    loss: str  # the kind of loss, which decides how logits become probabilities
    temperature: _Positive | None = None  # by which logits are divided before they become probabilities; None for 1
    threshold: _Share | None = None  # probability from which an answer counts as sure; None for 0, all of them
    recipe: dict[str, Any] | None = None  # the resolved recipe of a run, paths cut to their last component
    members: list[dict[str, Any]] | None = None  # recipe and result of each run, for an ensemble in place of a recipe
    result: dict[str, Any] | None = None  # the run's result: accuracy, date, processor and so on, but not the host
    data: dict[str, Any] | None = None  # the data set of the run, its source cut to the last path component
    parameters: int | None = None  # number of trainable parameters, for a network without a run
    versions: dict[str, str] | None = None  # of tfmnist and the libraries, by name
    form: dict[str, Any] | None = None  # the fields of the `ImageFormat` of the training images
    image_shape: tuple[_Size, _Size]  # height and width
    class_names: tuple[str, ...] = Field(min_length=1)  # one name per class, in the order of the logits
    signatures: dict[str, Any] | None = None  # dtype, shape and range of every input and output, by signature

    @classmethod
    def read(cls, version: Path) -> "ModelCard":
        """Reads the card of a version's folder.

        Raises:
            OSError: there is none.
            ValueError: it is damaged.
        """
        return cls.model_validate_json((version / _FILE).read_bytes())

    def write(self, version: Path) -> None:
        """Writes the card, with descriptions of its signatures, to a version's folder."""
        (version / _FILE).parent.mkdir(exist_ok=True)
        (version / _FILE).write_text(self.to_json(), encoding="utf-8", newline="\n")

    def to_json(self, names: Sequence[str] = ()) -> str:
        """Returns the card as JSON text, with descriptions of the named signatures; of all by default."""
        signatures = _describe_signatures(self.image_shape, len(self.class_names))
        chosen = {name: signatures[name] for name in names or signatures}
        return json.dumps(self.to_dict() | {"signatures": chosen}, indent=2) + "\n"

    @property
    def labels(self) -> str:
        """The class names, one per line."""
        return "".join(f"{name}\n" for name in self.class_names)

    def to_dict(self) -> dict[str, Any]:
        """Returns the card as JSON types."""
        return self.model_dump(mode="json", exclude_unset=True)


def _describe_signatures(image_shape: tuple[int, int], classes: int) -> dict[str, Any]:
    height, width = image_shape
    outputs = {
        "classes": {"dtype": "int64", "shape": ["n"]},
        "probabilities": {"dtype": "float32", "shape": ["n", classes]},
        "logits": {"dtype": "float32", "shape": ["n", classes]},
    }
    pictures = {
        "normalized": {"dtype": "uint8", "shape": ["n", height, width]},
        "digits": {"dtype": "int64", "shape": ["n"]},
        "status": {"dtype": "int64", "shape": ["n"], "values": {str(int(s)): s.explain() for s in Status}},
    }
    inputs = {
        "serving_default": {"images": {"dtype": "uint8", "shape": ["n", height, width], "range": [0, 255]}},
        "float_images": {"images": {"dtype": "float32", "shape": ["n", height, width], "range": [0, 1]}},
        "image_bytes": {"image_bytes": {"dtype": "string", "shape": ["n"], "content": "PNG, JPEG, BMP or GIF files"}},
    }
    examples = {"dtype": "string", "shape": ["n"], "content": "tf.train.Example with the feature image/encoded, a file"}
    scores = {"dtype": "float32", "shape": ["n", classes], "content": "probabilities, or all 0 if the file is not read"}
    names = {"dtype": "string", "shape": ["n", classes], "content": "class names, the most probable first"}
    described = {
        name: {"inputs": images, "outputs": outputs | (pictures if name == "image_bytes" else {})}
        for name, images in inputs.items()
    }
    return described | {"classify": {"inputs": {"inputs": examples}, "outputs": {"classes": names, "scores": scores}}}
