"""Predictions of a trained `mlp`: one image at a time, and 256 at once.

Every contender takes uint8 images and returns probabilities, both NumPy arrays; scaling to [0, 1] is part of its model.
All have the same weights, and each is compared with the formulas in float64 before its first turn.
"""

# pyright: reportMissingImports=false
# the rivals are not among the package's dependencies

import os
import tempfile
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from turns import Contender, Goal, processors

WORK = "784-512-10, ReLU; uint8 images in, probabilities out; 1,000 calls with one image, 200 with 256"
UNIT = "1,000 calls and 200 batches"
STEPS = None
CALLS, BATCH = 1000, 256
BATCHES = {"mlp": 200, "cnn": 20}
WIDTH, CLASSES, EPSILON = 512, 10, 1e-3
CONVOLUTIONS = ((5, 1, 32), (3, 32, 64), (3, 64, 128))  # size, channels in and out
AGREEMENT, CHECKED = 1e-5, 8

Weights = dict[str, npt.NDArray[np.float32]]
Answer = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def make_weights(kind: str) -> Weights:
    """Returns random weights by their names in tfmnist; the same in every process."""
    random = np.random.default_rng(0)

    def normal(*shape: int, mean: float = 0.0, deviation: float = 0.1) -> npt.NDArray[np.float32]:
        return random.normal(mean, deviation, shape).astype(np.float32)

    def kernel(*shape: int) -> npt.NDArray[np.float32]:
        return normal(*shape, deviation=np.sqrt(2 / np.prod(shape[:-1])))

    if kind == "mlp":
        hidden = {"dense_1/kernel": kernel(784, WIDTH), "dense_1/bias": normal(WIDTH)}
        return {**hidden, "logits/kernel": kernel(WIDTH, CLASSES), "logits/bias": normal(CLASSES)}
    weights: Weights = {}
    for number, (size, channels, filters) in enumerate(CONVOLUTIONS, start=1):
        weights[f"conv_{number}/kernel"] = kernel(size, size, channels, filters)
        for name, mean in (("scale", 1.0), ("offset", 0.0), ("mean", 0.0), ("variance", 1.0)):
            weights[f"batch_norm_{number}/{name}"] = normal(filters, mean=mean)
    return {**weights, "logits/kernel": kernel(CONVOLUTIONS[-1][2], CLASSES), "logits/bias": normal(CLASSES)}


def statistics_of(weights: Weights, number: int) -> list[npt.NDArray[np.float32]]:
    """Returns scale, offset, mean and variance of a batch normalisation, in the order of all frameworks."""
    return [weights[f"batch_norm_{number}/{name}"] for name in ("scale", "offset", "mean", "variance")]


def formulas(kind: str, weights: Weights, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Returns the probabilities by the network's formulas, in float64."""
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    x = images / 255
    if kind == "mlp":
        x = np.maximum(x.reshape(len(x), -1) @ exact["dense_1/kernel"] + exact["dense_1/bias"], 0)
    else:
        x = x[..., np.newaxis]
        for number, (size, _, filters) in enumerate(CONVOLUTIONS, start=1):
            edge = size // 2
            padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
            x = np.einsum("nijcab,abcf->nijf", windows, exact[f"conv_{number}/kernel"], optimize=True)
            names = ("scale", "offset", "mean", "variance")
            scale, offset, mean, variance = (exact[f"batch_norm_{number}/{name}"] for name in names)
            x = np.maximum(scale * (x - mean) / np.sqrt(variance + EPSILON) + offset, 0)
            if number < len(CONVOLUTIONS):
                half = x.shape[1] // 2
                x = x.reshape(len(x), half, 2, half, 2, filters).max(axis=(2, 4))
        x = x.max(axis=(1, 2))
    logits = x @ exact["logits/kernel"] + exact["logits/bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def contender(kind: str, answer: Answer, note: str, close: Callable[[], None] | None = None) -> Contender:
    """Returns a contender that times each call of `answer`, after checking that its answers are right."""
    import tfmnist

    images = tfmnist.load("mnist", validation=0).test.images
    few = images[:CHECKED]
    expected = formulas(kind, make_weights(kind), few)
    for probabilities in (answer(few), np.concatenate([answer(few[i : i + 1]) for i in range(CHECKED)])):
        error = float(np.abs(probabilities - expected).max())
        if not error <= AGREEMENT:
            raise SystemExit(f"probabilities differ by {error:.1e} from the formulas; expected {AGREEMENT} at most")

    def seconds(count: int, calls: int) -> npt.NDArray[np.float64]:
        taken = np.empty(calls)
        for call in range(calls):
            first = call * count % (len(images) - count + 1)
            some = images[first : first + count]
            began = perf_counter()
            answer(some)
            taken[call] = perf_counter() - began
        return taken

    def turn() -> dict[str, float]:
        one, many = seconds(1, CALLS), seconds(BATCH, BATCHES[kind])
        p50, p99 = np.percentile(one, (50, 99)) * 1e6
        batch = float(np.median(many))
        return {"p50_us": p50, "p99_us": p99, "batch_us": batch * 1e6, "images_per_second": BATCH / batch}

    return Contender(turn, note=note, close=close)


def exported(kind: str, way: str = "predict") -> Contender:
    """The exported model, loaded again: by `Exported.predict`, by its signature alone, or in another format."""
    if way == "one thread":
        os.environ["TF_NUM_INTRAOP_THREADS"] = "1"  # as `tfmnist predict` does for few pictures
    import tensorflow as tf

    import tfmnist
    from tfmnist.training.loop import set_weights

    model = tfmnist.MLP((28, 28), [WIDTH], CLASSES) if kind == "mlp" else tfmnist.CNN((28, 28), classes=CLASSES)
    set_weights(model, make_weights(kind))
    folder = tempfile.TemporaryDirectory()  # the model is loaded from it at the first call
    formats: dict[str, Any] = {"ONNX": "onnx", "LiteRT": "litert"}
    if way in formats:
        path = tfmnist.export(model, folder.name, format=formats[way], data=tfmnist.load("mnist"))
    else:
        path = tfmnist.export(model, folder.name)
    loaded = tfmnist.load_exported(path)
    if way != "signature":
        note = "Exported.predict" + ("" if way == "predict" else f", {way}")
        return contender(kind, lambda x: loaded.predict(x).probabilities, note, folder.cleanup)
    serve = loaded.signatures["serving_default"]
    note = 'signatures["serving_default"]'
    return contender(kind, lambda x: serve(images=tf.constant(x))["probabilities"].numpy(), note, folder.cleanup)


def keras_model(kind: str, way: str) -> Contender:
    """Keras: `predict_on_batch`, the plain call, or the call within a `tf.function`."""
    import keras
    import tensorflow as tf
    from keras import layers

    weights = make_weights(kind)
    model: Any = keras.Sequential([keras.Input((28, 28), dtype="uint8"), layers.Rescaling(1 / 255)])
    if kind == "mlp":
        for layer in (layers.Flatten(), layers.Dense(WIDTH, "relu")):
            model.add(layer)
        values = [weights["dense_1/kernel"], weights["dense_1/bias"]]
    else:
        model.add(layers.Reshape((28, 28, 1)))
        values = []
        for number, (size, _, filters) in enumerate(CONVOLUTIONS, start=1):
            model.add(layers.Conv2D(filters, size, padding="same", use_bias=False))
            model.add(layers.BatchNormalization(epsilon=EPSILON))
            model.add(layers.ReLU())
            model.add(layers.MaxPooling2D() if number < len(CONVOLUTIONS) else layers.GlobalMaxPooling2D())
            values += [weights[f"conv_{number}/kernel"], *statistics_of(weights, number)]
    model.add(layers.Dense(CLASSES, "softmax"))
    model.set_weights([*values, weights["logits/kernel"], weights["logits/bias"]])
    if way == "predict_on_batch":
        model.compile()
        return contender(kind, model.predict_on_batch, way)
    if way == "call":
        return contender(kind, lambda x: model(x, training=False).numpy(), "model(images, training=False)")
    signature = [tf.TensorSpec([None, 28, 28], tf.uint8)]
    serve: Any = tf.function(lambda x: model(x, training=False), input_signature=signature)
    return contender(kind, lambda x: serve(x).numpy(), "tf.function of the call")


def pytorch(kind: str, way: str = "eager") -> Contender:
    """PyTorch in inference mode: eager, traced and frozen, or compiled."""
    import torch
    from torch import nn

    torch.set_num_threads(processors())
    weights = {name: torch.from_numpy(value) for name, value in make_weights(kind).items()}

    def dense(name: str) -> nn.Module:
        kernel = weights[f"{name}/kernel"]
        layer = nn.Linear(*kernel.shape)
        layer.load_state_dict({"weight": kernel.T, "bias": weights[f"{name}/bias"]})
        return layer

    modules: list[nn.Module] = []
    if kind == "mlp":
        modules += [nn.Flatten(), dense("dense_1"), nn.ReLU()]
    else:
        for number, (size, channels, filters) in enumerate(CONVOLUTIONS, start=1):
            convolution = nn.Conv2d(channels, filters, size, padding="same", bias=False)
            convolution.load_state_dict({"weight": weights[f"conv_{number}/kernel"].permute(3, 2, 0, 1)})
            norm = nn.BatchNorm2d(filters, eps=EPSILON)
            values = [torch.from_numpy(value) for value in statistics_of(make_weights(kind), number)]
            norm.load_state_dict(dict(zip(("weight", "bias", "running_mean", "running_var"), values)), strict=False)
            pool = nn.MaxPool2d(2) if number < len(CONVOLUTIONS) else nn.AdaptiveMaxPool2d(1)
            modules += [convolution, norm, nn.ReLU(), pool]
        modules.append(nn.Flatten())

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*modules, dense("logits"))

        def forward(self, images: Any) -> Any:
            x = images.float() * (1 / 255)
            return self.layers(x if kind == "mlp" else x.unsqueeze(1)).softmax(-1)

    model: Any = Classifier().eval()
    if kind == "cnn":
        model = model.to(memory_format=torch.channels_last)
    if way == "traced":
        with torch.inference_mode():
            model = torch.jit.optimize_for_inference(
                torch.jit.trace(model, torch.zeros([1, 28, 28], dtype=torch.uint8))
            )
    elif way == "compiled":
        model = torch.compile(model, dynamic=True)

    @torch.inference_mode()
    def answer(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return model(torch.from_numpy(images)).numpy()

    note = {
        "eager": "eager, inference_mode",
        "traced": "torch.jit trace, optimize_for_inference",
        "compiled": "torch.compile",
    }
    return contender(kind, answer, note[way] + (", channels_last" if kind == "cnn" else ""))


def contenders(kind: str) -> dict[str, Callable[[], Contender]]:
    """Returns the contenders for a network, `mlp` or `cnn`."""
    return {
        "tfmnist": partial(exported, kind),
        "tfmnist, one thread": partial(exported, kind, "one thread"),
        "tfmnist signature": partial(exported, kind, "signature"),
        "tfmnist ONNX": partial(exported, kind, "ONNX"),
        "tfmnist LiteRT": partial(exported, kind, "LiteRT"),
        "Keras predict_on_batch": partial(keras_model, kind, "predict_on_batch"),
        "Keras call": partial(keras_model, kind, "call"),
        "Keras tf.function": partial(keras_model, kind, "tf.function"),
        "PyTorch eager": partial(pytorch, kind),
        "PyTorch traced": partial(pytorch, kind, "traced"),
        "PyTorch compiled": partial(pytorch, kind, "compiled"),
    }


CONTENDERS = contenders("mlp")
GOALS = [
    Goal("Keras predict_on_batch | Keras call | Keras tf.function", 2.0, measure="p50_us"),
    Goal("PyTorch eager | PyTorch traced | PyTorch compiled", 1.0, measure="p50_us"),
]
