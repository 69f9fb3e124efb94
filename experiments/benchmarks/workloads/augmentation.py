"""Random affine changes of images by themselves, and what augmentation adds to a training step of the `cnn` recipe.

The changes are those of `[augment]` with rotate 10, scale 0.1, shear 10 and shift 2, each drawn anew for every image,
resampled bilinearly, uint8 in and out. The contenders `cnn ...` train instead: their figure is `step_us`.
"""

# pyright: reportMissingImports=false
# the rivals are not among the package's dependencies

import math
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from turns import Contender, Goal, processors
from workloads.data import OFF, mnist_digits

WORK = "10,240 MNIST images rotated, scaled, sheared and shifted at random; or, where named cnn, 50 steps of batch 128"
UNIT = "10,240 images, or 50 steps"
STEPS = None
COUNT, BATCH, BLOCK = 10_240, 128, 2048
TRAINED = 50  # steps per turn
AFFINE = {"rotate": 10.0, "scale": 0.1, "shear": 10.0, "shift": 2.0}
ELASTIC = {"elastic": 1.2}
SIDE = 28
CENTRE = (SIDE - 1) / 2


def load_images() -> npt.NDArray[np.uint8]:
    """Returns the first training images, writable, as PyTorch wants them."""
    import tfmnist

    return tfmnist.load("mnist", validation=0).train.images[:COUNT].copy()


def timed(run: Callable[[], Any], note: str) -> Contender:
    """Returns a contender whose turn is one `run` over all images."""

    def turn() -> dict[str, float]:
        began = perf_counter()
        run()
        seconds = perf_counter() - began
        return {"images_per_second": COUNT / seconds, "us_per_image": seconds / COUNT * 1e6}

    return Contender(turn, note=note)


def own(elastic: bool = False) -> Contender:
    """tfmnist: `augment_block` on blocks as large as the `cnn` recipe's, as its pipeline calls it."""
    import tensorflow as tf

    from tfmnist.data.augment import augment_block
    from tfmnist.recipe import Augment

    section = Augment(**(AFFINE | ELASTIC if elastic else AFFINE))
    blocks = load_images().reshape(-1, BLOCK // BATCH, BATCH, SIDE, SIDE)
    spec = [tf.TensorSpec([None, None, SIDE, SIDE], tf.uint8), tf.TensorSpec([], tf.int64)]
    augment: Any = tf.function(
        lambda images, step: augment_block(images, step, 0, **section.model_dump()), input_signature=spec
    )
    step = 0

    def run() -> None:
        nonlocal step
        for block in blocks:
            augment(block, tf.constant(step, tf.int64)).numpy()
            step += len(block)

    return timed(run, f"blocks of {BLOCK}, {'affine and elastic' if elastic else 'affine'}")


def draw(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Returns `[count, 2, 3]`: for each image, the map from output to input pixels that tfmnist draws too."""
    rotate, scale_x, scale_y, shear, shift_x, shift_y = random.uniform(-1, 1, (6, count))
    angle, slant = rotate * math.radians(AFFINE["rotate"]), np.tan(shear * math.radians(AFFINE["shear"]))
    scale_x, scale_y = 1 + scale_x * AFFINE["scale"], 1 + scale_y * AFFINE["scale"]
    cosine, sine = np.cos(angle), np.sin(angle)
    a, b = cosine / scale_x, (cosine * slant - sine) / scale_y
    d, e = sine / scale_x, (sine * slant + cosine) / scale_y
    c = CENTRE - shift_x * AFFINE["shift"] - a * CENTRE - b * CENTRE
    f = CENTRE - shift_y * AFFINE["shift"] - d * CENTRE - e * CENTRE
    return np.stack([a, b, c, d, e, f], axis=-1).reshape(count, 2, 3)


def move_picture(image: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Returns one image, changed at random, as transforms of single pictures do."""
    from PIL import Image

    a, b, c, d, e, f = draw(random, 1).ravel()
    # PIL's coordinates begin at a pixel's edge, ours at its middle
    coefficients = (a, b, c + 0.5 - (a + b) / 2, d, e, f + 0.5 - (d + e) / 2)
    picture = Image.fromarray(image)
    return np.asarray(picture.transform((SIDE, SIDE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))


def pictures() -> Contender:
    """Pillow: one image at a time, in one process."""
    images, random = load_images(), np.random.default_rng(0)
    return timed(lambda: [move_picture(image, random) for image in images], "Image.transform, one process")


def loader() -> Contender:
    """Pillow in a Dataset: one image at a time, in the processes of a DataLoader."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    images = load_images()

    class Moved(Dataset[Any]):
        def __init__(self) -> None:
            self.random: np.random.Generator | None = None

        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> Any:
            self.random = self.random or np.random.default_rng(torch.initial_seed())  # its own in each process
            return torch.from_numpy(move_picture(images[index], self.random).copy())

    batches = DataLoader(Moved(), BATCH, num_workers=processors(), persistent_workers=True)
    return timed(lambda: [len(batch) for batch in batches], f"Image.transform, DataLoader, {processors()} workers")


def pytorch(size: int) -> Contender:
    """PyTorch: `affine_grid` and `grid_sample` on whole batches."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    torch.set_num_threads(processors())
    torch.manual_seed(0)
    images = torch.from_numpy(load_images()).unsqueeze(1)
    radians = math.pi / 180

    @torch.inference_mode()
    def run() -> None:
        for batch in images.split(size):
            rotate, scale_x, scale_y, shear, shift_x, shift_y = torch.rand(6, len(batch)) * 2 - 1
            angle, slant = rotate * (AFFINE["rotate"] * radians), torch.tan(shear * (AFFINE["shear"] * radians))
            scale_x, scale_y = 1 + scale_x * AFFINE["scale"], 1 + scale_y * AFFINE["scale"]
            cosine, sine = angle.cos(), angle.sin()
            shift = AFFINE["shift"] * 2 / SIDE  # the grid reaches from -1 to 1
            across = [cosine / scale_x, (cosine * slant - sine) / scale_y, -shift_x * shift]
            down = [sine / scale_x, (sine * slant + cosine) / scale_y, -shift_y * shift]
            maps = torch.stack([*across, *down], dim=1).view(-1, 2, 3)
            grid = affine_grid(maps, list(batch.shape), align_corners=False)
            grid_sample(batch.float(), grid, align_corners=False).round_().to(torch.uint8)

    return timed(run, f"affine_grid and grid_sample, batches of {size}")


def training(changes: dict[str, float] | None = None) -> Contender:
    """tfmnist: steps of the network of the `cnn` recipe, with augmentation or without."""
    import tfmnist
    from tfmnist.runs.build import build_trainer
    from tfmnist.training.events import Epoch

    section = {f"augment.{key}": value for key, value in (changes or {}).items()}
    rule = {"optimizer.kind": "adam", "optimizer.learning_rate": 0.001}
    recipe = tfmnist.Recipe.load("cnn").replace({**OFF, **rule, **section})
    events = build_trainer(recipe, mnist_digits(TRAINED * recipe.train.batch_size)).run()

    def turn() -> dict[str, float]:
        epoch = next(event for event in events if isinstance(event, Epoch))
        return {"step_us": epoch.seconds / TRAINED * 1e6, "loss": epoch.loss}

    return Contender(turn, note=f"cnn recipe, {TRAINED} steps of {recipe.train.batch_size}")


CONTENDERS: dict[str, Callable[[], Contender]] = {
    "tfmnist": own,
    "tfmnist elastic": partial(own, elastic=True),
    "Pillow": pictures,
    "Pillow in a DataLoader": loader,
    f"PyTorch, batches of {BATCH}": partial(pytorch, BATCH),
    f"PyTorch, batches of {BLOCK}": partial(pytorch, BLOCK),
    "cnn": training,
    "cnn augmented": partial(training, AFFINE),
    "cnn augmented, elastic": partial(training, AFFINE | ELASTIC),
}
OTHER_WORK = ("cnn", "cnn augmented", "cnn augmented, elastic")  # which augmenting images alone does not compare with
GOALS = [  # a step with augmentation takes at most 1.15 times as long as one without
    Goal("cnn", 1 / 1.15, measure="step_us", own="cnn augmented"),
    Goal("cnn", 1 / 1.15, measure="step_us", own="cnn augmented, elastic"),
]
