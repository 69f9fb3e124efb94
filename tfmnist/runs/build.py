"""The only place where a recipe becomes objects: data, model, schedule, optimizer, trainer."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfmnist.backprop.check import Comparison, check_gradients
from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.folders import is_picture_folder, read_folder_events
from tfmnist.data.sources import check_source, divide, load
from tfmnist.data.split import MOST_CLASSES, Digits, Split
from tfmnist.errors import InputError
from tfmnist.nn.models import CNN, MLP, Network
from tfmnist.nn.optimizers import OPTIMIZERS, Optimizer
from tfmnist.nn.schedules import Schedule, constant, cosine, exponential, one_cycle, staircase, warmup
from tfmnist.recipe import Data, Model, Recipe
from tfmnist.recipe import Optimizer as OptimizerSection
from tfmnist.recipe import Schedule as ScheduleSection
from tfmnist.runs.events import Clock
from tfmnist.runs.transfer import start_from
from tfmnist.system.machine import processors
from tfmnist.training.loop import Trainer
from tfmnist.training.threads import choose_threads, set_threads, threads_set


def load_section(section: Data, seed: int) -> Digits:
    """Loads what a recipe's `data` section describes."""
    return load(seed=seed, **section.model_dump())


def load_events(section: Data, seed: int) -> Generator[DecodingProgress, None, Digits]:
    """Like `load_section`; yields how far it is where pictures are decoded, and returns the data set."""
    check_source(section.source)
    path = Path(section.source).expanduser()
    if section.source == "mnist" or not path.is_dir() or not is_picture_folder(path):
        return load_section(section, seed)
    data = yield from read_folder_events(path, skip_broken=section.skip_broken)
    return divide(data, seed=seed, **section.model_dump(exclude={"skip_broken"}))


def load_labelled(section: Data, class_names: Sequence[str], seed: int) -> Digits:
    """Loads a data set with labels that are places in `class_names`, a model's; its other classes are left out.

    Raises:
        InputError: as `load`, and where it has none of these classes.
    """
    try:
        digits = load_section(section, seed)
    except InputError:  # some class without examples, perhaps: its number is known here
        count = max(len(class_names), *(int(name) + 1 for name in class_names if name.isdecimal()), 2)
        section = section.model_copy(update={"classes": min(count, MOST_CLASSES)})
        digits = load_section(section, seed)
    if digits.class_names == tuple(class_names):
        return digits
    shared = [name for name in class_names if name in digits.class_names]
    if not shared:
        raise InputError(
            f"{section.source}: its classes are {', '.join(digits.class_names[:10])}, expected some of the model's, "
            f"{', '.join(class_names[:10])}; rename them, or give other data."
        )
    digits = load_section(section.model_copy(update={"only": tuple(shared)}), seed)
    number = np.array([list(class_names).index(name) for name in shared])
    train, held, test = (Split(s.images, number[s.labels]) for s in (digits.train, digits.validation, digits.test))
    return Digits(train, held, test, tuple(class_names), digits.source, digits.notes)


def make_model(section: Model, image_shape: Sequence[int], classes: int, seed: int) -> Network:
    """Returns the network that a recipe's `model` section describes, with its initial weights."""
    options = section.model_dump(exclude={"kind", "hidden", "layers", "init_from", "init_sha256", "freeze"})
    if section.kind == "mlp":
        model = MLP(image_shape, section.hidden, classes, seed=seed, **options)
    else:
        model = CNN(image_shape, section.layers, classes, seed=seed, **options)
    model.freeze(section.freeze)
    return model


_KEYS: dict[str, tuple[str, ...]] = {
    "sgd": (),
    "momentum": ("momentum", "nesterov"),
    "rmsprop": ("rho", "epsilon"),
    "adam": ("beta1", "beta2", "epsilon"),
    "adamw": ("beta1", "beta2", "epsilon", "weight_decay"),
}


def make_optimizer(
    section: OptimizerSection, parameters: Sequence[tf.Variable], schedule: Schedule, *, fused: bool
) -> Optimizer:
    """Returns the optimizer that a recipe's `optimizer` section describes."""
    options = {key: getattr(section, key) for key in _KEYS[section.kind]}
    return OPTIMIZERS[section.kind](parameters, schedule, fused=fused, **options)


def make_schedule(section: ScheduleSection, learning_rate: float, steps_per_epoch: int, epochs: int) -> Schedule:
    """Returns the schedule of a recipe's `schedule` section; its epochs become steps."""
    rising = round(section.warmup * steps_per_epoch)
    total = steps_per_epoch * epochs - rising
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
    return warmup(schedules[section.kind](), rising)


def compare_gradients(recipe: Recipe, examples: int = 20, samples: int = 50) -> list[Comparison]:
    """Holds tape, formulas and differences against each other, at a recipe's initial weights, on its first examples.

    Args:
        recipe: its model is an mlp with relu, sigmoid or tanh, without batch normalisation and dropout.
        examples: number of training examples in the batch.
        samples: how many entries of each variable to hold against central differences.

    Raises:
        InputError: the formulas do not cover the model.
    """
    digits = load_section(recipe.data, recipe.train.seed)
    model = make_model(recipe.model, digits.image_shape, digits.classes, recipe.train.seed)
    if examples > len(digits.train):
        raise InputError(f"--examples is {examples}: {digits.source} has {len(digits.train)} to train; take fewer.")
    images, labels = digits.train.take(np.arange(examples))
    return check_gradients(model, images, labels, recipe.loss, samples=samples, seed=recipe.train.seed)


def anchored(recipe: Recipe) -> Recipe:
    """Returns the recipe with folders that mean the same from wherever the run is resumed, evaluated or repeated."""
    changes: dict[str, Any] = {}
    if recipe.data.source != "mnist":
        changes["data.source"] = str(Path(recipe.data.source).expanduser().absolute())
    if recipe.model.init_from:  # runs/latest will be another run soon
        changes["model.init_from"] = str(Path(recipe.model.init_from).expanduser().resolve())
    return recipe.replace(changes) if changes else recipe


def build_trainer(
    recipe: Recipe, digits: Digits, clock: Clock, owns_process: bool, resumed: bool = False
) -> tuple[Trainer, Recipe]:
    """Makes the objects that a recipe describes; weights to start from are not needed where a run has begun."""
    settings = recipe.train
    clock.lap("load")
    if owns_process or settings.threads != "auto":  # before TensorFlow computes
        set_threads(choose_threads(recipe, digits.image_shape, digits.classes))
    model = make_model(recipe.model, digits.image_shape, digits.classes, settings.seed)
    if recipe.model.init_from and not resumed:
        digest = start_from(model, digits.class_names, recipe.model.init_from, recipe.model.init_sha256)
        recipe = recipe.replace({"model.init_sha256": digest})
    steps = -(-len(digits.train) // settings.batch_size)
    schedule = make_schedule(recipe.schedule, recipe.optimizer.learning_rate, steps, settings.epochs)
    trainer = Trainer(
        model,
        make_optimizer(recipe.optimizer, model.parameters, schedule, fused=True),
        digits.train,
        digits.validation,
        settings,
        loss=recipe.loss,
        augment=recipe.augment,
        clip_norm=recipe.optimizer.clip_norm,
    )
    return trainer, recipe


def describe_choices(recipe: Recipe, trainer: Trainer, digits: Digits) -> list[str]:
    why = "as asked"
    if trainer.settings.compile == "auto":
        why = "auto: convolutions on a CPU" if trainer.model.has_convolutions else "auto: dense layers"
    block = "auto" if trainer.settings.block == "auto" else "as asked"
    lines = [f"compile {trainer.mode} ({why}), {trainer.plan.block} steps a block ({block})"]
    chosen, threads = choose_threads(recipe, digits.image_shape, digits.classes), threads_set()
    if chosen != threads:
        why = f"as the process has them; {chosen} {'suits' if chosen == 1 else 'suit'} this run"
    elif recipe.train.threads != "auto":
        why = "as asked"
    else:
        why = "auto: too small a step to share" if threads < processors() else "auto: one a processor"
    lines.append(f"threads {threads} ({why})")
    if recipe.model.init_from:
        lines.append(f"from {recipe.model.init_from}, weights {recipe.model.init_sha256[:12]}")
    if frozen := [layer.name for layer in trainer.model.layers if layer.frozen]:
        lines.append(f"frozen {', '.join(frozen)}")
    return lines
