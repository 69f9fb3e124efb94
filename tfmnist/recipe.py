"""The recipe of a training run: typed, validated, frozen, and written as TOML.

A recipe is data: it holds everything that decides the weights, so training it again reproduces them. The options of the
command line and their help come from these types. Nothing here imports TensorFlow.
"""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from tfmnist.errors import InputError, did_you_mean, show
from tfmnist.layer_specs import parse_layer
from tfmnist.system.seals import unseal

MOST_LEVELS = 16  # of lists and tables within each other in a file
MOST_LAYERS = 256
Count = Annotated[int, Field(ge=0, le=10**9)]
AtLeastOne = Annotated[int, Field(ge=1, le=10**9)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e37, allow_inf_nan=False)]  # what float32 can hold
NotNegative = Annotated[float, Field(ge=0, le=1e37, allow_inf_nan=False)]
Epochs = Annotated[float, Field(ge=0, le=1e6)]

LOSS_KINDS = ("cross_entropy", "quadratic", "naive_cross_entropy")
_OWN = re.compile(r"(.+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*")
_TYPED = {  # words that people type for a key, besides its name
    word: key
    for key, words in {
        "data.source": "data dataset path",
        "data.validation": "val valid validation_split val_split",
        "model.kind": "network net architecture",
        "model.hidden": "units width widths neurons hidden_units hidden_size hidden_sizes hidden_layers "
        "hidden_layer_sizes",
        "model.initializer": "init",
        "loss.kind": "criterion",
        "loss.label_smoothing": "smoothing",
        "optimizer.kind": "optim",
        "optimizer.learning_rate": "lr rate eta alpha step_size",
        "optimizer.epsilon": "eps",
        "optimizer.weight_decay": "wd decay",
        "optimizer.clip_norm": "clip grad_clip clip_grad max_grad_norm clipping",
        "schedule.kind": "scheduler lr_schedule lr_scheduler",
        "augment.scale": "zoom",
        "augment.shift": "translate translation",
        "train.epochs": "epoch",
        "train.batch_size": "batch batchsize bs",
        "train.seed": "random_seed random_state",
        "train.precision": "dtype mixed_precision amp",
        "train.compile": "jit jit_compile xla",
        "train.average": "ema swa averaging",
        "train.patience": "early_stopping early_stop",
    }.items()
    for word in words.split()
}


def is_own(kind: str) -> bool:
    """Whether a kind names user code: `FILE.py:NAME` or `MODULE:NAME`."""
    return _OWN.fullmatch(kind) is not None


def locate(kind: str, folder: Path = Path()) -> str:
    """Returns a kind; if it names a file, with the absolute path, given the folder that the path is relative to."""
    file, colon, name = kind.rpartition(":")
    if not (is_own(kind) and file.endswith(".py")):
        return kind
    return f"{(folder / Path(os.path.expanduser(file))).absolute()}{colon}{name}"


@dataclass(frozen=True)
class Kinds:
    """Checks that a value is one of the known kinds, or names user code."""

    known: tuple[str, ...]

    def __call__(self, value: str) -> str:
        if value in self.known or is_own(value):
            return locate(value)
        words = f"{', '.join(map(repr, self.known[:-1]))} or {self.known[-1]!r}"
        hint = did_you_mean(value, self.known)
        raise ValueError(f"expected {words}, or your own code as FILE.py:NAME or MODULE:NAME{hint}")


def _kind(*known: str) -> AfterValidator:
    return AfterValidator(Kinds(known))


def nearest_key(typed: str) -> str:
    """Returns the key, `section.key`, that was probably meant by `word` or `section.word`; empty if none is near.

    People use other names (`lr`), the wrong section (`train.lr`), only a section (`optimizer`), or mistype.
    """
    near = partial(difflib.get_close_matches, n=1, cutoff=0.65)
    section, _, word = typed.lower().replace("-", "_").rpartition(".")
    section = next(iter(near(section, Recipe.sections())), section)
    keys = Recipe.key_names()
    if (kind := f"{word}.kind") in keys:
        return kind
    inside = [key for key in keys if key.startswith(f"{section}.")]
    for some in (inside, keys):
        if len(same := [key for key in some if key.endswith(f".{word}")]) == 1:
            return same[0]
    if meant := _TYPED.get(word):
        return meant
    for some in (inside, keys):
        names = {key.partition(".")[2]: key for key in some}
        if match := near(word, names):
            return names[match[0]]
    return ""


def suggest_key(typed: str) -> str:
    """Returns the end of a sentence about a key that does not exist: the nearest key, or all keys of its section."""
    if meant := nearest_key(typed):
        return f"; did you mean {meant!r}?"
    section, _, word = typed.rpartition(".")
    table = Recipe.tables().get(section)
    return did_you_mean(word, table.model_fields if table else Recipe.sections())


def _describe(error: ValidationError, section: str, known: list[str]) -> str:
    """Describes the first validation error in one line: key, value, expectation, remedy."""
    first, *others = error.errors(include_url=False, include_context=False)
    key = ".".join(str(part) for part in first["loc"] if isinstance(part, str) and part in known)
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][0])
        where = f"{section}.{name}" if section else name
        if not section and name in ("recipe", "fixed", "space", "search"):
            return f"it has {name!r}, like a sweep file: expected a recipe; run it with tfmnist sweep."
        if name in Recipe.key_names():
            return f"recipe key {name!r} is in quotes: expected {name} = ..., without quotes."
        if not section and isinstance(first["input"], dict):
            return f"recipe section {name!r} does not exist{did_you_mean(name, known)}"
        near = difflib.get_close_matches(name, ("extends", *known) if section in ("", "about") else (), cutoff=0.8)
        return f"recipe key {where!r} does not exist{did_you_mean(name, near) if near else suggest_key(where)}"
    where = ".".join(part for part in (section, key) if part)
    if first["type"] == "model_type":
        inside = next((key for key in Recipe.key_names() if key.startswith(f"{where}.")), "about.summary")
        return f"recipe key {where!r} is {show(first['input'])}: expected a section, with keys such as {inside!r}."
    expected = first["msg"].removeprefix("Value error, ")
    for other in others:  # of a union: the same key, the same input
        if other["loc"][:1] == first["loc"][:1] and all(isinstance(part, str) for part in other["loc"]):
            expected += " or " + other["msg"].removeprefix("Input should be ")
    expected = re.sub("Input should be (greater|less)", r"expected a value \1", expected)
    expected = expected.replace("Input should be", "expected").replace("Input should", "must")
    return f"recipe key {where!r} is {show(first['input'])}: {expected.rstrip('.')}."


def _is_plain(value: Any) -> bool:
    """Whether a recipe file gives a value back as it is."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in cast(dict[Any, Any], value).items())
    if isinstance(value, list | tuple):
        return all(_is_plain(inner) for inner in cast(list[Any], value))
    return type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))


def _check_plain(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if not _is_plain(value):
            raise ValueError(f"{name} is {show(value)}: expected text, a finite number, true, false, a list or a table")
    return options


Options = Annotated[dict[str, Any], AfterValidator(_check_plain)]
_OF_OWN: tuple[str, ...] = ("options", "source_sha256")  # keys that apply only to user code
_RULES: dict[str, tuple[str, ...]] = {  # options of the update rules, and the rules that have them
    "momentum": ("momentum", "muon"),
    "nesterov": ("momentum",),
    "rho": ("rmsprop",),
    "beta1": ("adam", "adamw", "muon"),
    "beta2": ("adam", "adamw", "muon"),
    "epsilon": ("rmsprop", "adam", "adamw", "muon"),
    "weight_decay": ("adamw", "muon"),
    "adam_rate": ("muon",),
}
_SHAPES: dict[str, tuple[str, ...]] = {  # options of the schedules, and the schedules that have them
    "factor": ("step", "exponential"),
    "every": ("step", "exponential"),
    "start": ("one_cycle",),
    "peak": ("one_cycle",),
    "end": ("cosine", "one_cycle"),
}


class Section(BaseModel):
    """A group of recipe keys. An unknown key or a wrong value is an `InputError` of one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _raise_input_error(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        for name, field in cls.model_fields.items() if isinstance(data, dict) else ():
            value: Any = data.get(name)  # type: ignore[reportUnknownMemberType]
            if isinstance(value, bool) and field.annotation is not bool:
                raise InputError(
                    f"recipe key '{cls.__name__.lower()}.{name}' is {value}: expected a value that is not a boolean."
                )
            if isinstance(value, str) and "\0" in value:
                raise InputError(
                    f"recipe key '{cls.__name__.lower()}.{name}' is {show(value)}: remove the null character."
                )
        try:
            return handler(data)
        except ValidationError as error:
            section = "" if cls is Recipe else cls.__name__.lower()
            raise InputError(_describe(error, section, list(cls.model_fields))) from None

    def idle(self) -> dict[str, str]:
        """Returns the keys of the section that have no effect, each with the reason."""
        return {}


class About(Section):
    """What a recipe is, and what to expect of it."""

    summary: str = ""
    """What it trains."""
    accuracy: str = ""
    """The test accuracy to expect."""
    time: str = ""
    """How long it takes, and on what."""
    source: str = ""
    """Where it comes from, such as a paper or a book."""


class Data(Section):
    """Where the examples come from, and which of them are used."""

    source: str = Field(default="mnist", min_length=1)
    """'mnist' (embedded), a folder of pictures (train/<class>/*.png) or of IDX or CSV files, a .csv, or an .npz."""
    validation: Count = 5000
    """Number of training examples drawn per class for validation; a source's own set is used whole; 0 for none."""
    classes: int = Field(default=0, ge=0, le=1000)
    """Number of classes; 0 to take it from the training labels."""
    only: tuple[str, ...] = ()
    """Names of the classes to use, in this order; none for all."""
    per_class: Count = 0
    """Number of training examples to use per class, drawn by the seed; 0 for all."""
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Fraction of each class that becomes the test set if the source has none; the same for every seed."""
    skip_broken: bool = False
    """Leave out pictures that cannot be decoded, and list them, instead of stopping at the first."""
    transpose: bool = False
    """Swap the rows and columns of all images, for data that lie sideways; EMNIST by its own names needs no help."""

    def idle(self) -> dict[str, str]:
        folder = Path(os.path.expanduser(self.source))
        idle: dict[str, str] = {}
        try:
            exists = self.source == "mnist" or folder.exists()
            entries = list(folder.iterdir()) if folder.is_dir() else [folder]
            inside = {entry.name for entry in entries if entry.is_dir()}
        except (OSError, ValueError):  # a name too long, no right to read it: loading the data says so
            return idle
        if exists:
            if not inside:  # no folders of pictures
                idle["skip_broken"] = f"data.source is {self.source!r}, which has no picture files"
            has_tables = any(entry.name.endswith((".csv", ".csv.gz")) for entry in entries)  # perhaps none for test
            if "test" in inside or not (inside or has_tables):
                idle["test_share"] = f"data.source is {self.source!r}, which has a test set"
        return idle


class Model(Section):
    """The network."""

    kind: Annotated[str, _kind("mlp", "cnn")] = "mlp"
    """mlp: dense layers of the widths model.hidden; cnn: the layers that model.layers lists; or FILE.py:NAME."""
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=2**20)], ...], Field(max_length=MOST_LAYERS)] = (512,)
    """mlp: widths of the hidden layers."""
    layers: Annotated[tuple[str, ...], Field(max_length=MOST_LAYERS)] = ()
    """cnn: the layers before the logits, such as 'conv 32 5x5', 'max 2', 'global max', 'dense 128'."""
    activation: Literal["relu", "sigmoid", "tanh", "gelu"] = "relu"
    """Activation function of the hidden layers."""
    initializer: Literal["he", "glorot", "normal", "uniform", "zeros"] = "he"
    """Distribution of the initial weights."""
    init_scale: Positive = 1.0
    """Factor on the initial weights: the standard deviation of 'normal', the half-width of 'uniform'."""
    bias: bool = True
    """Whether dense and convolution layers have a bias."""
    batch_norm: bool = False
    """Batch normalisation between each hidden layer and its activation."""
    batch_norm_momentum: Fraction = 0.9
    """Decay of the moving mean and variance."""
    dropout: Fraction = 0.0
    """Fraction of the units of each hidden dense layer to drop in training; 0 for none."""
    init_from: str = ""
    """Folder of a finished run whose weights to start from; if the classes differ, the last layer starts afresh."""
    init_sha256: str = ""
    """Expected weights_sha256 of the run model.init_from; filled in by the new run."""
    freeze: tuple[str, ...] = ()
    """Layers that keep their initial weights, such as 'conv_1' or 'conv_*'."""
    source_sha256: str = ""
    """FILE.py:NAME: expected digest of the source code; filled in by a new run."""
    options: Options = {}
    """FILE.py:NAME: the options of that code, by name."""

    def idle(self) -> dict[str, str]:
        kind = f"model.kind is {self.kind!r}"
        if is_own(self.kind):
            own = {"kind", "init_from", "init_sha256", "freeze", *_OF_OWN}
            idle: dict[str, str] = dict.fromkeys(
                Model.model_fields.keys() - own, f"{kind}, whose options belong under model.options"
            )
        else:
            idle: dict[str, str] = dict.fromkeys(_OF_OWN, f"{kind}, which is not code of your own")
            idle |= {"layers": f"{kind}, and layers apply only to 'cnn'"} if self.kind == "mlp" else {}
            idle |= {"hidden": f"{kind}, and hidden applies only to 'mlp'"} if self.kind == "cnn" else {}
            dense = self.hidden if self.kind == "mlp" else [text for text in self.layers if text.split()[0] == "dense"]
            if not dense:
                idle["dropout"] = "the network has no hidden dense layer whose units it could drop"
                if not any(text.split()[0] == "conv" for text in self.layers) or self.kind == "mlp":
                    idle |= dict.fromkeys(("activation", "batch_norm"), "the network has no hidden layer")
            if not self.batch_norm:
                idle["batch_norm_momentum"] = "model.batch_norm is false"
            if self.initializer == "zeros":
                idle["init_scale"] = "model.initializer is 'zeros'"
        return idle if self.init_from else {**idle, "init_sha256": "model.init_from is empty"}

    @model_validator(mode="after")
    def _cnn_has_layers(self) -> Self:
        if self.kind == "cnn" and not self.layers:
            raise InputError("recipe key 'model.layers' is empty: a cnn needs at least one layer, e.g. 'conv 32 5x5'.")
        for text in self.layers:
            try:
                parse_layer(text)
            except ValueError as error:
                raise InputError(str(error)) from None
        return self


class Loss(Section):
    """What is minimised."""

    kind: Annotated[str, _kind(*LOSS_KINDS)] = "cross_entropy"
    """Softmax cross-entropy; half the squared error of sigmoids; log(softmax), which can be NaN; or FILE.py:NAME."""
    label_smoothing: Fraction = 0.0
    """cross_entropy: fraction of each target to spread evenly over all classes."""
    l1: NotNegative = 0.0
    """Factor of the L1 penalty, the sum of |w| over all kernels."""
    l2: NotNegative = 0.0
    """Factor of the L2 penalty, half the sum of w² over all kernels."""
    source_sha256: str = ""
    """FILE.py:NAME: expected digest of the source code; filled in by a new run."""
    options: Options = {}
    """FILE.py:NAME: the options of that code, by name."""

    def idle(self) -> dict[str, str]:
        kind = f"loss.kind is {self.kind!r}"
        return {} if is_own(self.kind) else dict.fromkeys(_OF_OWN, f"{kind}, which is not code of your own")

    @model_validator(mode="after")
    def _smoothing_fits(self) -> Self:
        if self.kind != "cross_entropy" and self.label_smoothing:
            raise InputError(
                f"recipe key 'loss.label_smoothing' is {self.label_smoothing}: it applies only to cross_entropy, "
                f"not to {self.kind}; set it to 0."
            )
        return self


class Distill(Section):
    """Learning from the probabilities of another model, the teacher, besides the labels."""

    teacher: str = ""
    """Folder of a finished run, or of an exported model such as an ensemble, for the same images and classes."""
    teacher_sha256: str = ""
    """Expected digest of that model's manifest; filled in by a new run."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Weight of the teacher's probabilities in the loss; the labels have the rest."""
    temperature: Positive = 1.0
    """By which the logits of both are divided, so that the teacher's second choices weigh more."""

    def idle(self) -> dict[str, str]:
        others = ("teacher_sha256", "weight", "temperature")
        return {} if self.teacher else dict.fromkeys(others, "distill.teacher is empty")


class Optimizer(Section):
    """The update rule."""

    kind: Annotated[str, _kind("sgd", "momentum", "rmsprop", "adam", "adamw", "muon")] = "adam"
    """Name of the rule: sgd, momentum, rmsprop, adam, adamw, muon; or FILE.py:NAME."""
    learning_rate: Positive = 0.001
    """Learning rate; its peak if the schedule changes it."""
    momentum: Fraction = 0.9
    """momentum, muon: decay of the velocity."""
    nesterov: bool = False
    """momentum: Nesterov's variant, which looks ahead."""
    rho: Fraction = 0.9
    """rmsprop: decay of the mean squared gradient."""
    beta1: Fraction = 0.9
    """adam, adamw, muon: decay of the mean gradient."""
    beta2: Fraction = 0.999
    """adam, adamw, muon: decay of the mean squared gradient."""
    epsilon: Positive = 1e-8
    """adam, adamw, muon: added to the root of the mean square; rmsprop: added under the root."""
    weight_decay: NotNegative = 0.01
    """adamw, muon: decoupled weight decay of the kernels per step, times the learning rate."""
    adam_rate: Positive = 0.1
    """muon: learning rate of biases, scales and logits, which adamw updates, as a fraction of the learning rate."""
    clip_norm: NotNegative = 0.0
    """Limit of the gradients' global norm, to which larger ones are scaled down; 0 for no limit."""
    source_sha256: str = ""
    """FILE.py:NAME: expected digest of the source code; filled in by a new run."""
    options: Options = {}
    """FILE.py:NAME: the options of that code, by name."""

    def idle(self) -> dict[str, str]:
        kind = f"optimizer.kind is {self.kind!r}"
        if is_own(self.kind):
            return dict.fromkeys(_RULES, f"{kind}, whose options belong under optimizer.options")
        idle = {
            key: f"{kind}, and {key} applies only to {' or '.join(map(repr, kinds))}"
            for key, kinds in _RULES.items()
            if self.kind not in kinds
        }
        if self.kind == "momentum" and not self.momentum:
            idle["nesterov"] = "optimizer.momentum is 0"
        return idle | dict.fromkeys(_OF_OWN, f"{kind}, which is not code of your own")

    @property
    def rule_options(self) -> dict[str, Any]:
        """The options of a built-in rule, by name."""
        return {key: getattr(self, key) for key, kinds in _RULES.items() if self.kind in kinds}


class Schedule(Section):
    """How the learning rate changes during the run."""

    kind: Literal["constant", "step", "exponential", "cosine", "one_cycle"] = "constant"
    """Shape of the schedule after the warm-up."""
    warmup: Epochs = 0.0
    """Epochs over which the learning rate rises linearly from 0."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """step, exponential: factor by which the learning rate changes every schedule.every epochs."""
    every: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """step, exponential: number of epochs over which schedule.factor applies once."""
    start: Annotated[float, Field(gt=0, le=1)] = 0.1
    """one_cycle: initial learning rate, as a fraction of the peak."""
    peak: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """one_cycle: when the peak is reached, as a fraction of the run."""
    end: Annotated[float, Field(ge=0, le=1)] = 0.0
    """cosine, one_cycle: final learning rate, as a fraction of the peak."""

    def idle(self) -> dict[str, str]:
        kind = f"schedule.kind is {self.kind!r}"
        idle = {
            key: f"{kind}, and {key} applies only to {' or '.join(map(repr, kinds))}"
            for key, kinds in _SHAPES.items()
            if self.kind not in kinds
        }
        return idle if self.factor < 1 else {**idle, "every": "schedule.factor is 1"}


class Augment(Section):
    """Random changes of the training images, new in every epoch. Each value is the largest change; 0 for none."""

    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees of rotation, in either direction."""
    scale: Fraction = 0.0
    """Fraction by which the image grows or shrinks, independently along each axis."""
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0
    """Degrees of slant, in either direction."""
    shift: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Pixels of translation along each axis."""
    elastic: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Pixels of random but smooth displacement, as the root mean square along each axis."""
    elastic_width: Annotated[float, Field(gt=0, le=1e6)] = 4.0
    """Smoothness of the elastic displacement: the standard deviation of the Gaussian filter, in pixels."""

    def idle(self) -> dict[str, str]:
        return {} if self.elastic else {"elastic_width": "augment.elastic is 0"}


class Train(Section):
    """The training loop."""

    epochs: AtLeastOne = 5
    """Passes over the training examples."""
    batch_size: AtLeastOne = 100
    """Examples per step; the smaller last batch of an epoch is trained too."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the validation split, the initial weights, the order of examples, dropout and augmentation."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward and backward pass; weights, updates, logits and loss are always float32."""
    block: AtLeastOne | Literal["auto"] = "auto"
    """Steps per call of the compiled loop; auto: about 10,000 images with xla, else 2,000."""
    compile: Literal["auto", "xla", "graph", "eager"] = "auto"
    """auto: xla for networks of dense layers, graph for convolutions; eager: for debugging and learning."""
    threads: AtLeastOne | Literal["auto"] = "auto"
    """Threads per operation, at most 64 or one per CPU are used; auto: one for small steps, else one per CPU."""
    average: Fraction = 0.0
    """Decay of the exponential moving average of the weights, which is evaluated and exported; 0 for none."""
    patience: Count = 0
    """Stop after this many epochs without a better validation result, and keep the best weights; 0 for never."""
    monitor: Literal["accuracy", "loss"] = "accuracy"
    """Validation result that train.patience watches."""
    progress: Count = 0
    """Print the mean loss every N steps; 0 for a live line only."""
    log_steps: Count = 0
    """Write the loss of every N-th step to steps.jsonl; 0 for none."""
    tensorboard: bool = False
    """Write event files for TensorBoard to the run's folder; needs the extra tfmnist[tensorboard]."""
    checkpoint_minutes: NotNegative = 0.0
    """Save a checkpoint also within an epoch, after the first block that ends so long after the last; 0 for never."""
    on_nonfinite: Literal["fail", "rollback"] = "fail"
    """If a loss or a weight is not finite; rollback: back to the epoch's start, with half the learning rate."""

    def idle(self) -> dict[str, str]:
        return {} if self.patience else {"monitor": "train.patience is 0"}


class Export(Section):
    """What a finished run writes besides its numbers, and how its probabilities are made and judged."""

    temperature: Positive = 1.0
    """By which logits are divided before they become probabilities; evaluate --split validation finds a good one."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability from which an answer counts as sure; predict and serve call others 'not sure'; 0 for none."""
    model: bool = True
    """Write the SavedModel, model/1."""
    report: bool = True
    """Write report.html and its figures."""  # the last key of a recipe: see is_whole


class Recipe(Section):
    """Everything that decides a run.

    Example:
        >>> recipe = Recipe.load("mlp").replace({"train.epochs": 1, "optimizer.learning_rate": 0.01})
        >>> recipe.train.epochs, recipe.optimizer.kind
        (1, 'adam')
    """

    name: str = Field(default="recipe", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of its run folders: letters, digits and . _ -; by default the name of the file."""
    about: About = About()
    data: Data = Data()
    model: Model = Model()
    loss: Loss = Loss()
    distill: Distill = Distill()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augment: Augment = Augment()
    train: Train = Train()
    export: Export = Export()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.train.patience and not self.data.validation:
            raise InputError(
                f"recipe key 'train.patience' is {self.train.patience} but 'data.validation' is 0: early stopping "
                "needs validation examples; set data.validation, or train.patience to 0."
            )
        return self

    @classmethod
    def load(cls, name_or_path: str | Path, seen: tuple[Path, ...] = ()) -> "Recipe":
        """Reads a shipped recipe by name, or a `.toml` file by path.

        A file may begin with `extends = "mlp"`, or `extends = "other.toml"`: the recipe whose keys it changes. Paths of
        such a file, and of code in `model.kind`, `loss.kind` or `optimizer.kind`, are relative to the file's folder.

        Args:
            name_or_path: the name or path.
            seen: the files that extend this one; for calls from `load` itself.

        Raises:
            InputError: no such recipe or file, invalid TOML, an unknown key, a wrong value, or a key without effect.
        """
        text = str(name_or_path)
        if text.endswith(".toml"):
            path = Path(text)
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "recipe"
        else:
            path, name = None, text
        values = _read_toml(path, text)
        try:
            recipe, given = cls._from_file(values, name, path, seen)
            if not _is_resolved(values):
                recipe.check_effect(given)
            return recipe
        except InputError as error:
            raise InputError(f"{text}: {error}") from None

    @classmethod
    def _from_file(
        cls, values: dict[str, Any], name: str, path: Path | None, seen: tuple[Path, ...]
    ) -> tuple["Recipe", list[str]]:
        """Returns the recipe of a file, on top of the one that it extends, and the keys that the file itself sets."""
        folder = path.parent if path else Path()
        tables: dict[str, dict[str, Any]] = {s: values[s] for s in cls.sections() if isinstance(values.get(s), dict)}
        changes = {f"{s}.{key}": value for s, table in tables.items() for key, value in table.items()}
        for section in ("model", "loss", "optimizer"):
            if isinstance(kind := changes.get(f"{section}.kind"), str):
                changes[f"{section}.kind"] = locate(kind, folder)
            if isinstance(options := changes.get(f"{section}.options"), dict):
                del changes[f"{section}.options"]
                changes |= {f"{section}.options.{key}": value for key, value in options.items()}  # type: ignore
        base = Recipe()
        if "extends" in values:
            extended, here = values["extends"], path.resolve() if path else Path()
            if not isinstance(extended, str):
                raise InputError(f"recipe key 'extends' is {extended!r}: expected a shipped recipe, or a .toml file.")
            if here in seen:
                raise InputError(
                    f"recipe key 'extends' is {extended!r}: these recipes extend each other; break the circle."
                )
            base = cls.load(folder / extended if extended.endswith(".toml") else extended, (*seen, here))
        rest = {key: value for key, value in values.items() if key not in tables and key != "extends"}
        own: dict[str, Any] = {**base.with_values(changes).model_dump(), "name": name, "about": {}, **rest}
        return cls.model_validate(own), list(changes)

    @classmethod
    def load_run(cls, run_dir: str | Path) -> "Recipe":
        """Reads the recipe of a run folder. Raises an `InputError` if it was changed after the run wrote it."""
        path = Path(run_dir) / "recipe.toml"
        if not path.is_file():
            advice = "give the folder of a run; if it was killed before it began, start it again"
            raise InputError(f"{run_dir}: not a run folder, it has no recipe.toml; {advice}.")
        if not _is_sealed(path):
            reason = "changed or cut short after the run wrote it, as its SHA-256 shows"
            raise InputError(f"{path}: {reason}; restore it, or start the run again as it was started.")
        recipe = cls.load(path)
        if not is_whole(path):
            raise InputError(f"{path}: is not a run's whole recipe; start the run again as it was started.")
        return recipe

    def replace(self, changes: Mapping[str, Any]) -> "Recipe":
        """Returns the recipe with some keys, named `section.key` or `section.options.name`, changed and validated.

        Raises:
            InputError: an unknown key, a wrong value, or a key without effect that is not at its default.
        """
        recipe = self.with_values(changes)
        recipe.check_effect(changes)
        return recipe.without_stale_claims(self)

    def with_values(self, changes: Mapping[str, Any]) -> "Recipe":
        """Like `replace`, but a key without effect is no error, and the recipe keeps its expected accuracy and time."""
        values: dict[str, dict[str, Any]] = self.model_dump()
        for name, value in sorted(changes.items(), key=lambda change: not change[0].endswith(".kind")):
            section, _, key = name.partition(".")
            if section not in self.sections():
                hint = did_you_mean(section, self.sections()) if key else suggest_key(name)
                raise InputError(f"recipe {'section' if key else 'key'} {section!r} does not exist{hint}")
            target = values[section]
            if key == "kind" and "options" in target and isinstance(value, str) and locate(value) != target["kind"]:
                target |= {"options": {}, "source_sha256": ""}  # those of the code that was named before do not apply
            if key.startswith("options.") and "options" in target:
                target["options"][key.partition(".")[2]] = value
            else:
                target[key] = value
        return Recipe.model_validate(values)

    def check_effect(self, given: Iterable[str]) -> None:
        """Raises an `InputError` if one of the given keys has no effect and is not at its default."""
        for name in given:
            if reason := self.why_idle(name):
                value = self.values()[name]
                shown = str(value).lower() if isinstance(value, bool) else repr(value)  # as in TOML
                raise InputError(
                    f"recipe key {name!r} is {shown} but has no effect because {reason}; remove it, or change "
                    "what it depends on."
                )

    def why_idle(self, name: str) -> str:
        """Returns why a key has no effect; empty if it has one, or is at its default."""
        section, _, key = name.partition(".")
        table: Section = getattr(self, section)
        key = key.partition(".")[0]  # options
        is_default = getattr(table, key) == type(table).model_fields[key].get_default()
        return "" if is_default else table.idle().get(key, "")

    def without_stale_claims(self, base: "Recipe") -> "Recipe":
        """Returns this recipe without the expected accuracy and time of `base`, unless both train alike."""
        train = {"train.seed", "train.progress", "train.log_steps", "train.tensorboard"}
        harmless = train | {f"export.{key}" for key in Export.model_fields}
        same = harmless.issuperset(self.changed_from(base))
        return self if same else self.model_copy(update={"about": About(source=base.about.source)})

    def changed_from(self, other: "Recipe") -> list[str]:
        """Returns the keys, `section.key`, whose values differ from another recipe's."""
        values, others = self.values(), other.values()
        return [key for key in {**values, **others} if values.get(key) != others.get(key)]

    def values(self) -> dict[str, Any]:
        """Returns all values as JSON holds them, by key, `section.key` or `section.options.name`."""
        flat: dict[str, Any] = {}
        for section, table in self.model_dump(mode="json", include=set(self.sections())).items():
            for key, value in table.items():
                flat |= {f"{section}.{key}.{k}": v for k, v in value.items()} if key == "options" else {}
                flat |= {f"{section}.{key}": value} if key != "options" else {}
        return flat

    @classmethod
    def sections(cls) -> list[str]:
        """Returns the names of the sections that hold options."""
        return [name for name in cls.model_fields if name not in ("name", "about")]

    @classmethod
    def tables(cls) -> dict[str, type[Section]]:
        """Returns the type of each section that holds options."""
        return {name: type(cls.model_fields[name].get_default()) for name in cls.sections()}

    @classmethod
    def key_names(cls) -> list[str]:
        """Returns the names of all keys, `section.key`."""
        return [f"{section}.{key}" for section, table in cls.tables().items() for key in table.model_fields]

    def to_toml(self) -> str:
        """Returns the complete recipe as TOML, every key written out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json"))

    def without_folders(self) -> dict[str, Any]:
        """Returns the recipe as JSON types, with absolute paths, such as `data.source`, cut to their last part."""
        return _without_folders(self.model_dump(mode="json"))


def _read_toml(path: Path | None, text: str) -> dict[str, Any]:
    try:
        content = path.read_bytes() if path else read_shipped(text)
        return parse_toml(content.decode())
    except InputError as error:
        raise InputError(f"{text}: {error}") from None
    except OSError as error:
        raise InputError(
            f"{text}: cannot read the recipe: {error.strerror}; give a shipped recipe or a .toml file."
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{text}: not valid TOML: {error}.") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Returns the values of a TOML file, or raises an `InputError` if it is invalid, or too deep to read."""
    too_deep = f"lists or tables in more than {MOST_LEVELS} levels: expected fewer."
    try:
        values = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not valid TOML: {error}.") from None
    except RecursionError:
        raise InputError(f"it has {too_deep}") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise InputError("it has a number of thousands of digits: expected a 64-bit integer.") from None
    level: list[tuple[str, Any]] = list(values.items())
    for _ in range(MOST_LEVELS):
        level = [inner for key, value in level for inner in _inside(key, value)]
        if not level:
            return values
    raise InputError(f"{level[0][0]!r} has {too_deep}")


def _inside(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return list(cast(dict[str, Any], value).items())
    return [(key, inner) for inner in cast(list[Any], value)] if isinstance(value, list) else []


def is_whole(path: Path) -> bool:
    """Whether the file of a complete recipe exists and was written to its end."""
    if not path.is_file() or not _is_sealed(path):
        return False
    return re.search(rb"^report = (true|false)$", path.read_bytes(), re.MULTILINE) is not None


def _is_sealed(path: Path) -> bool:
    """Whether a run's recipe is as it was written, or of an early version, which did not seal it."""
    try:
        unseal(path.read_bytes())
    except UnicodeDecodeError:
        return True  # `load` says what is wrong
    except ValueError:
        return False
    return True


def _is_resolved(values: Mapping[str, Any]) -> bool:
    """Whether a file lists every key, as the recipe of a run does: then keys without effect are no mistake."""
    sections = {"loss": Loss, "optimizer": Optimizer, "schedule": Schedule}
    newer = {*_OF_OWN, "adam_rate"}  # which recipes of early versions lack
    return all(set(table.model_fields) - newer <= set(values.get(name, ())) for name, table in sections.items())


def _without_folders(value: Any, in_options: bool = False) -> Any:
    """Returns a JSON value, with absolute paths in tables, and in lists of options, cut to their last part."""
    if isinstance(value, dict):
        items = cast(dict[str, Any], value).items()
        return {key: _without_folders(inner, in_options or key == "options") for key, inner in items}
    if isinstance(value, list) and in_options:
        return [_without_folders(inner, True) for inner in cast(list[Any], value)]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else cast(Any, value)


_SHIPPED = resources.files("tfmnist") / "recipes"


def shipped_recipes() -> list[str]:
    """Returns the names of the recipes in the package, the default first."""
    names = sorted(entry.name.removesuffix(".toml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".toml"))
    return sorted(names, key=lambda name: name != "mlp")


def read_shipped(name: str) -> bytes:
    """Returns the file of a shipped recipe, or raises an `InputError`."""
    known = shipped_recipes()
    if name not in known:
        raise InputError(f"recipe {name!r} is neither shipped nor a .toml file{did_you_mean(name, known)}")
    return _SHIPPED.joinpath(f"{name}.toml").read_bytes()
