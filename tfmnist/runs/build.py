"""The only place where a recipe becomes objects: data, model, schedule, optimizer, trainer."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfmnist.backprop.check import Comparison, check_gradients
from tfmnist.data import sources
from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.sources import load
from tfmnist.data.split import MOST_CLASSES, Digits, Split
from tfmnist.errors import InputError
from tfmnist.nn.losses import Objective, find_loss
from tfmnist.nn.models import CNN, MLP, Network, as_network
from tfmnist.nn.optimizers import OPTIMIZERS, Optimizer
from tfmnist.nn.schedules import Scaled, Schedule, constant, cosine, exponential, one_cycle, staircase, warmup
from tfmnist.recipe import Data, Loss, Model, Recipe, is_own
from tfmnist.recipe import Optimizer as OptimizerSection
from tfmnist.recipe import Schedule as ScheduleSection
from tfmnist.runs.own_code import errors_in_one_line, load_own, name_of
from tfmnist.training.loop import Trainer

if TYPE_CHECKING:
    from tfmnist.training.distribute import Processes


def load_section(section: Data, seed: int) -> Digits:
    """Loads the data set that a recipe's `data` section describes."""
    return load(seed=seed, **section.model_dump())


def digest_of(digits: Digits) -> str:
    """Returns the digests of the training and validation examples; the test set is not read before the end."""
    return f"{digits.train.sha256} {digits.validation.sha256}"


def load_events(section: Data, seed: int) -> Generator[DecodingProgress, None, Digits]:
    """Like `load_section`; yields its progress while pictures are decoded, and returns the data set."""
    return sources.load_events(seed=seed, **section.model_dump())


def load_labelled(section: Data, class_names: Sequence[str], seed: int, trained_on: str = "") -> Digits:
    """Loads a data set whose labels are indices into a model's `class_names`; its other classes are left out.

    `trained_on` is the digest of the model's own data: their classes may have been without names then.

    Raises:
        InputError: as in `load`, or the data set has none of these classes.
    """
    try:
        digits = load_section(section, seed)
    except InputError:  # perhaps a class has no examples: the number of classes is known here
        count = max(len(class_names), *(int(name) + 1 for name in class_names if name.isdecimal()), 2)
        section = section.model_copy(update={"classes": min(count, MOST_CLASSES)})
        digits = load_section(section, seed)
    if digits.class_names == tuple(class_names):
        return digits
    if trained_on and trained_on == digits.sha256 and len(class_names) == len(digits.class_names):
        return replace(digits, class_names=tuple(class_names))
    shared = [name for name in class_names if name in digits.class_names]
    if not shared:
        raise InputError(
            f"{section.source}: its classes are {', '.join(digits.class_names[:10])}, expected some of the model's, "
            f"{', '.join(class_names[:10])}; rename them, or choose other data."
        )
    digits = load_section(section.model_copy(update={"only": tuple(shared)}), seed)
    labels = np.array([list(class_names).index(name) for name in shared])  # the model's
    splits = digits.train, digits.validation, digits.test
    train, validation, test = (Split(split.images, labels[split.labels]) for split in splits)
    return Digits(train, validation, test, tuple(class_names), digits.source, digits.notes)


def load_unchanged(section: Data, class_names: Sequence[str], seed: int, sha256: str) -> Digits:
    """Like `load_labelled`, for the data set that a model was trained on; `sha256` is its digest, or "" for any."""
    digits = load_labelled(section, class_names, seed, sha256)
    if sha256 and digits.sha256 != sha256:
        raise InputError(
            f"{digits.source}: has changed since the model was trained; restore it or, to evaluate on it nevertheless, "
            "name it with --data."
        )
    return digits


def make_model(section: Model, image_shape: Sequence[int], classes: int, seed: int) -> Network:
    """Returns the network that a recipe's `model` section describes, with its initial weights."""
    if is_own(section.kind):
        make, options = load_own(section)
        with errors_in_one_line():
            model = as_network(make(tuple(image_shape), classes, seed=seed, **options), image_shape, classes)
            model.check_forward()
        if (model.image_shape, model.classes) != (tuple(image_shape), classes):
            raise InputError(
                f"recipe key 'model.kind' is {section.kind!r}: its network is for images of {model.image_shape} and "
                f"{model.classes} classes, expected {tuple(image_shape)} and {classes}, as passed to it."
            )
    else:
        keys = {"kind", "hidden", "layers", "init_from", "init_sha256", "freeze", "options", "source_sha256"}
        options = section.model_dump(exclude=keys)
        kinds = {"mlp": partial(MLP, image_shape, section.hidden), "cnn": partial(CNN, image_shape, section.layers)}
        model = kinds[section.kind](classes, seed=seed, **options)
    model.freeze(section.freeze)
    return model


def make_objective(section: Loss) -> Objective:
    """Returns the objective that a recipe's `loss` section describes."""
    if not is_own(section.kind):
        return find_loss(section.kind, section.label_smoothing, section.l1, section.l2)
    function, options = load_own(section)
    return Objective(partial(function, **options), name_of(section.kind), section.l1, section.l2)


def make_optimizer(section: OptimizerSection, parameters: Sequence[tf.Variable], schedule: Schedule) -> Optimizer:
    """Returns the optimizer that a recipe's `optimizer` section describes."""
    if not is_own(section.kind):
        return OPTIMIZERS[section.kind](parameters, schedule, **section.rule_options)
    rule, options = load_own(section)
    with errors_in_one_line():
        return rule(parameters, schedule, **options)


def make_schedule(section: ScheduleSection, learning_rate: float, steps_per_epoch: int, epochs: int) -> Schedule:
    """Returns the schedule of a recipe's `schedule` section; its epochs become steps."""
    warmup_steps = round(section.warmup * steps_per_epoch)
    total = steps_per_epoch * epochs - warmup_steps
    if total < 1 and section.kind != "constant":
        raise InputError(
            f"recipe key 'schedule.warmup' is {section.warmup} epochs of {epochs}: expected fewer than 'train.epochs'."
        )
    every = max(1, round(section.every * steps_per_epoch))
    schedules: dict[str, Callable[[], Schedule]] = {
        "constant": lambda: constant(learning_rate),
        "step": lambda: staircase(learning_rate, section.factor, every),
        "exponential": lambda: exponential(learning_rate, section.factor, every),
        "cosine": lambda: cosine(learning_rate, total, section.end),
        "one_cycle": lambda: one_cycle(learning_rate, total, section.start, section.peak, section.end),
    }
    return warmup(schedules[section.kind](), warmup_steps)


def compare_gradients(recipe: Recipe, examples: int = 20, samples: int = 50) -> list[Comparison]:
    """Compares tape, formulas and differences at a recipe's initial weights, on its first examples.

    Args:
        recipe: its model is an mlp with relu, sigmoid or tanh, without batch normalisation and dropout.
        examples: number of training examples in the batch.
        samples: number of entries per variable to compare with central differences.

    Raises:
        InputError: the formulas do not cover the model.
    """
    digits = load_section(recipe.data, recipe.train.seed)
    model = make_model(recipe.model, digits.image_shape, digits.classes, recipe.train.seed)
    if examples > len(digits.train):
        raise InputError(f"--examples is {examples}: {digits.source} has {len(digits.train)} to train; take fewer.")
    images, labels = digits.train.take(np.arange(examples))
    return check_gradients(model, images, labels, recipe.loss, samples=samples, seed=recipe.train.seed)


def build_trainer(
    recipe: Recipe,
    digits: Digits,
    model: Network | None = None,
    objective: Objective | None = None,
    processes: "Processes | None" = None,
) -> Trainer:
    """Returns the trainer for a recipe and its data.

    `model` replaces the network that the recipe describes, and `objective` its loss; `processes` train together.
    """
    if model is None:
        model = make_model(recipe.model, digits.image_shape, digits.classes, recipe.train.seed)
    steps = -(-len(digits.train) // recipe.train.batch_size)
    schedule = make_schedule(recipe.schedule, recipe.optimizer.learning_rate, steps, recipe.train.epochs)
    if recipe.train.on_nonfinite == "rollback":
        schedule = Scaled(schedule)
    return Trainer(
        model,
        make_optimizer(recipe.optimizer, model.parameters, schedule),
        digits.train,
        digits.validation,
        recipe.train,
        loss=objective or make_objective(recipe.loss),
        augment=recipe.augment,
        clip_norm=recipe.optimizer.clip_norm,
        processes=processes,
    )
