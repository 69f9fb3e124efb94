"""The teacher of a recipe that distils: an exported model, loaded as part of the loss."""

from collections.abc import Sequence

from tfmnist.artifacts.exported import Exported
from tfmnist.artifacts.versions import MANIFEST
from tfmnist.errors import InputError
from tfmnist.nn.losses import Objective
from tfmnist.recipe import Distill
from tfmnist.runs.saved import find_model
from tfmnist.system.files import file_sha256
from tfmnist.training.distill import Distillation


def with_teacher(
    objective: Objective, section: Distill, image_shape: tuple[int, int], class_names: Sequence[str]
) -> tuple[Distillation, str]:
    """Returns an objective that also learns from the teacher, and the digest of the teacher's manifest.

    Args:
        objective: the loss on the labels.
        section: the recipe's `distill` section.
        image_shape: height and width of the images.
        class_names: of the data, in the order of the logits.

    Raises:
        InputError: there is no such model, it is for other images or classes, or its digest is another.
    """
    path = find_model(section.teacher)
    if path.is_file() or not (path / "saved_model.pb").is_file():
        raise InputError(f"recipe key 'distill.teacher' is {section.teacher!r}: expected a SavedModel; export one.")
    model = Exported(path)
    digest = file_sha256(path / MANIFEST)
    if section.teacher_sha256 not in ("", digest):
        raise InputError(
            f"{path}: its digest is {digest[:12]}..., recipe key 'distill.teacher_sha256' says "
            f"{section.teacher_sha256[:12]}...; name the right model in distill.teacher, or clear "
            "distill.teacher_sha256."
        )
    if (model.image_shape, model.class_names) != (image_shape, tuple(class_names)):
        height, width = model.image_shape
        raise InputError(
            f"{path}: reads {height}x{width} images of the classes {', '.join(model.class_names[:10])}; expected a "
            f"teacher for {image_shape[0]}x{image_shape[1]} and {', '.join(class_names[:10])}."
        )
    signature = model.signatures["serving_default"]
    distillation = Distillation(
        objective.function,
        objective.name,
        objective.l1,
        objective.l2,
        teacher=lambda images: signature(images=images)["logits"],
        weight=section.weight,
        temperature=section.temperature,
    )
    return distillation, digest
