"""The recipe of a training run: typed, validated, frozen, and written as TOML.

A recipe is data. It says everything that decides the weights, so training it again gives them again. The command line's
options and their help come from these types. Nothing here imports TensorFlow.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from tfmnist.errors import InputError, did_you_mean
from tfmnist.layer_specs import parse_layer

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e37, allow_inf_nan=False)]  # what float32 can hold
NotNegative = Annotated[float, Field(ge=0, le=1e37, allow_inf_nan=False)]
Epochs = Annotated[float, Field(ge=0, le=1e6)]


def _sentence(error: ValidationError, section: str, known: list[str]) -> str:
    """Puts the first complaint of a validation into one line: key, value, expectation, remedy."""
    first, *others = error.errors(include_url=False, include_context=False)
    key = ".".join(str(part) for part in first["loc"] if isinstance(part, str) and part in known)
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][0])
        where = f"{section}.{name}" if section else name
        return f"recipe key {where!r} does not exist{did_you_mean(name, known)}"
    where = ".".join(part for part in (section, key) if part)
    expected = first["msg"].removeprefix("Value error, ")
    for other in others:  # of a union: the same key, the same input
        if other["loc"][:1] == first["loc"][:1] and all(isinstance(part, str) for part in other["loc"]):
            expected += " or " + other["msg"].removeprefix("Input should be ")
    expected = expected.replace("Input should be", "expected").replace("Input should", "must")
    return f"recipe key {where!r} is {first['input']!r}: {expected}."


class Section(BaseModel):
    """A group of recipe keys: unknown keys and values out of range are errors of one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        for name, field in cls.model_fields.items() if isinstance(data, dict) else ():
            value: Any = data.get(name)  # type: ignore[reportUnknownMemberType]
            if isinstance(value, bool) and field.annotation is not bool:
                raise InputError(f"recipe key '{cls.__name__.lower()}.{name}' is {value}: expected no true or false.")
        try:
            return handler(data)
        except ValidationError as error:
            section = "" if cls is Recipe else cls.__name__.lower()
            raise InputError(_sentence(error, section, list(cls.model_fields))) from None


class About(Section):
    """What a shipped recipe is and what to expect of it."""

    summary: str = ""
    accuracy: str = ""
    time: str = ""
    source: str = ""


class Data(Section):
    """Where the examples come from, and how many of the training examples are kept for validation."""

    source: str = Field(default="mnist", min_length=1)
    """'mnist' (embedded), a folder of pictures (train/<class>/*.png) or of IDX files, or an .npz with x_train, ..."""
    validation: int = Field(default=5000, ge=0)
    """Number of training examples held out for validation, drawn per class by the seed; 0 for none."""
    classes: int = Field(default=0, ge=0, le=1000)
    """Number of classes; 0 reads it off the training labels."""
    only: tuple[str, ...] = ()
    """Names of the classes to keep, in this order; none keeps all."""
    per_class: int = Field(default=0, ge=0)
    """Number of training examples to keep of each class, drawn by the seed; 0 keeps all."""
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of each class that becomes the test set where a source has none; the same for every seed."""
    skip_broken: bool = False
    """Leave out pictures that cannot be decoded, and say which, instead of stopping at the first."""


class Model(Section):
    """The network."""

    kind: Literal["mlp", "cnn"] = "mlp"
    """Dense layers only, or the layers listed in model.layers."""
    hidden: tuple[Annotated[int, Field(ge=1, le=2**20)], ...] = (512,)
    """mlp: widths of the hidden layers."""
    layers: tuple[str, ...] = ()
    """cnn: the layers up to the logits, such as 'conv 32 5x5', 'max 2', 'global max', 'dense 128'."""
    activation: Literal["relu", "sigmoid", "tanh", "gelu"] = "relu"
    """Function after each hidden layer."""
    initializer: Literal["he", "glorot", "normal", "uniform", "zeros"] = "he"
    """Distribution of the initial weights."""
    init_scale: Positive = 1.0
    """Factor on it: the standard deviation of 'normal', the half-width of 'uniform'."""
    bias: bool = True
    """Whether dense and convolution layers add a bias."""
    batch_norm: bool = False
    """Batch normalisation between each hidden layer and its activation."""
    batch_norm_momentum: Fraction = 0.9
    """How slowly the moving mean and variance follow the batches."""
    dropout: Fraction = 0.0
    """Share of each hidden dense layer's units dropped in training."""
    init_from: str = ""
    """Folder of a finished run whose weights to start from; the last layer is new where the classes are others."""
    init_sha256: str = ""
    """The weights_sha256 that they must have; a run fills it in."""
    freeze: tuple[str, ...] = ()
    """Layers that keep their initial weights, such as 'conv_1' or 'conv_*'."""

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

    kind: Literal["cross_entropy", "quadratic", "naive_cross_entropy"] = "cross_entropy"
    """Cross-entropy of softmax, from logits; half the squared error of sigmoid outputs; or log(softmax) as printed."""
    label_smoothing: Fraction = 0.0
    """cross_entropy: share of each target spread evenly over all classes."""
    l1: NotNegative = 0.0
    """Weight of the sum of |w| over all kernels, added to the loss."""
    l2: NotNegative = 0.0
    """Weight of half the sum of w squared over all kernels, added to the loss."""

    @model_validator(mode="after")
    def _smoothing_fits(self) -> Self:
        if self.kind != "cross_entropy" and self.label_smoothing:
            raise InputError(
                f"recipe key 'loss.label_smoothing' is {self.label_smoothing}: it belongs to cross_entropy, "
                f"not to {self.kind}; set it to 0."
            )
        return self


class Optimizer(Section):
    """The update rule."""

    kind: Literal["sgd", "momentum", "rmsprop", "adam", "adamw"] = "adam"
    """Which rule."""
    learning_rate: Positive = 0.001
    """Step size; the peak of it where the schedule changes it."""
    momentum: Fraction = 0.9
    """momentum: share of the last step that is kept."""
    nesterov: bool = False
    """momentum: take the gradient step from the point looked ahead to."""
    rho: Fraction = 0.9
    """rmsprop: decay of the mean square."""
    beta1: Fraction = 0.9
    """adam, adamw: decay of the gradient's mean."""
    beta2: Fraction = 0.999
    """adam, adamw: decay of the gradient's mean square."""
    epsilon: Positive = 1e-8
    """adam, adamw: added to the root of the mean square; rmsprop: under the root."""
    weight_decay: NotNegative = 0.01
    """adamw: decoupled decay of the kernels, times the learning rate, a step."""
    clip_norm: NotNegative = 0.0
    """Gradients whose global norm is larger are scaled down to it; 0 for never."""


class Schedule(Section):
    """How the learning rate changes over the run."""

    kind: Literal["constant", "step", "exponential", "cosine", "one_cycle"] = "constant"
    """Its shape after the warm-up."""
    warmup: Epochs = 0.0
    """Epochs in which the learning rate rises linearly from 0."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """step, exponential: the learning rate is multiplied by this every schedule.every epochs."""
    every: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """step, exponential: epochs between two multiplications by schedule.factor."""
    start: Annotated[float, Field(gt=0, le=1)] = 0.1
    """one_cycle: share of the peak at which the cycle begins."""
    peak: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """one_cycle: the point of the run, from 0 to 1, at which the peak is reached."""
    end: Annotated[float, Field(ge=0, le=1)] = 0.0
    """cosine, one_cycle: share of the peak that is left at the end."""


class Augment(Section):
    """Random changes of the training images, new in every epoch; each value is the largest change, 0 for none."""

    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees, to either side."""
    scale: Fraction = 0.0
    """Share by which the picture grows or shrinks, each axis by itself."""
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0
    """Degrees of slant, to either side."""
    shift: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Pixels, along each axis."""
    elastic: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Pixels that a point is displaced by, root mean square along each axis: random, but alike for neighbours."""
    elastic_width: Annotated[float, Field(gt=0, le=1e6)] = 4.0
    """Pixels over which displacements are alike: the standard deviation of the Gaussian that smooths them."""


class Train(Section):
    """The loop."""

    epochs: int = Field(default=5, ge=1)
    """Passes over the training examples."""
    batch_size: int = Field(default=100, ge=1)
    """Examples a step; the last, smaller batch of an epoch is trained too."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides the validation split, the initial weights, the order, dropout and augmentation."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward and backward pass; weights, updates, logits and loss are float32 always."""
    block: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Steps in one call of the compiled loop."""
    compile: Literal["auto", "xla", "graph", "eager"] = "auto"
    """auto: xla for networks of dense layers, graph for convolutions; eager is for debugging and learning."""
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Threads that share one operation; auto: one for steps too small to share, else one a processor."""
    average: Fraction = 0.0
    """Decay of the exponential moving average of the weights that is evaluated and exported; 0 for none."""
    patience: int = Field(default=0, ge=0)
    """Stop after so many epochs without a better validation result, and keep the best weights; 0 for never."""
    monitor: Literal["accuracy", "loss"] = "accuracy"
    """Which validation result train.patience watches."""
    progress: int = Field(default=0, ge=0)
    """Print a line every so many batches, with the mean loss since the line before; 0 for a live line alone."""


class Export(Section):
    """What a finished run leaves beside its numbers."""

    model: bool = True
    """Write the SavedModel, model/1."""
    report: bool = True
    """Draw report.html and its figures."""


class Recipe(Section):
    """All that decides a run.

    Example:
        >>> recipe = Recipe.load("mlp").replace({"train.epochs": 1, "optimizer.learning_rate": 0.01})
        >>> recipe.train.epochs, recipe.optimizer.kind
        (1, 'adam')
    """

    name: str = Field(default="recipe", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    about: About = About()
    data: Data = Data()
    model: Model = Model()
    loss: Loss = Loss()
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
    def load(cls, name_or_path: str | Path) -> "Recipe":
        """Reads a shipped recipe by name, or a `.toml` file by path.

        Raises:
            InputError: no such recipe or file, no valid TOML, an unknown key, or a value out of range.
        """
        text = str(name_or_path)
        if text.endswith(".toml"):
            path: Traversable = Path(text)
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(text).stem).strip("-._") or "recipe"
        else:
            path, name = _SHIPPED / f"{text}.toml", text
            if text not in shipped_recipes():
                raise InputError(
                    f"recipe {text!r} is neither shipped nor a .toml file{did_you_mean(text, shipped_recipes())}"
                )
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8").removeprefix("\ufeff"))
        except OSError as error:
            raise InputError(
                f"{text}: cannot read the recipe: {error.strerror}; give a shipped name or a .toml file."
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{text}: not valid TOML: {error}.") from None
        try:
            return cls.model_validate({"name": name, **values})
        except InputError as error:
            raise InputError(f"{text}: {error}") from None

    @classmethod
    def load_run(cls, run_dir: str | Path) -> "Recipe":
        """Reads the recipe of a run folder."""
        path = Path(run_dir) / "recipe.toml"
        if not path.is_file():
            raise InputError(f"{run_dir}: not a run folder, it has no recipe.toml; give the folder of a run.")
        return cls.load(path)

    def replace(self, changes: Mapping[str, Any]) -> "Recipe":
        """Returns a recipe with some keys, named `section.key`, changed; the result is validated like any other."""
        values = self.model_dump()
        for name, value in changes.items():
            section, _, key = name.partition(".")
            target = values.get(section)
            if not isinstance(target, dict):
                raise InputError(f"recipe section {section!r} does not exist{did_you_mean(section, self.sections())}")
            target[key] = value
        return Recipe.model_validate(values).without_stale_claims(self)

    def without_stale_claims(self, base: "Recipe") -> "Recipe":
        """Returns this recipe without what `base` promises of accuracy and time, where it is not the same any more."""
        kept = ("train.seed", "train.progress", "export.model", "export.report")
        same = all(key in kept for key in self.changed_from(base))
        return self if same else self.model_copy(update={"about": About(source=base.about.source)})

    def changed_from(self, other: "Recipe") -> list[str]:
        """Returns the keys, `section.key`, whose values differ."""
        mine, theirs = self.model_dump(), other.model_dump()
        return [f"{s}.{k}" for s in self.sections() for k in mine[s] if mine[s][k] != theirs[s][k]]

    @classmethod
    def sections(cls) -> list[str]:
        """Returns the names of the sections that hold options."""
        return [name for name in cls.model_fields if name not in ("name", "about")]

    def to_toml(self) -> str:
        """Returns the complete recipe as TOML, every key written out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json"))


_SHIPPED = resources.files("tfmnist") / "recipes"


def shipped_recipes() -> list[str]:
    """Returns the names of the recipes in the package, the default first."""
    names = sorted(entry.name.removesuffix(".toml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".toml"))
    return sorted(names, key=lambda name: name != "mlp")
