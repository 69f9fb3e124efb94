"""The network of the `cnn` recipe with Adam: convolutions and batch normalisation, which take most of the time."""

# pyright: reportMissingImports=false
# the rivals are not among the package's dependencies

from collections.abc import Callable
from functools import partial
from typing import Any

from turns import Contender, Goal, processors
from workloads.data import fit_arrays, fit_keras, mnist, train_recipe
from workloads.limit import convolution_limit

WORK = "convolutions 5x5x32, 3x3x64, 3x3x128, batch norm, Adam 0.001, batch 128; 12,800 images, the first of MNIST"
UNIT = "12,800 images"
COUNT, BATCH, RATE = 12_800, 128, 0.001
STEPS = COUNT // BATCH
CONVOLUTIONS = ((1, 32, 5), (32, 64, 3), (64, 128, 3))  # channels in and out, size
LAYERS = [(28 >> number, *convolution) for number, convolution in enumerate(CONVOLUTIONS)]  # pooled by 2 in between
CLASSES, EPSILON, MOMENTUM = 10, 1e-3, 0.9
OURS: dict[str, Any] = {"optimizer.kind": "adam", "optimizer.learning_rate": RATE}


def keras_fit(jit: bool | str = "auto", policy: str = "float32") -> Contender:
    """Keras on arrays in memory."""
    import keras

    data = mnist(COUNT, (28, 28, 1))
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_global_policy(policy)
    layers: list[Any] = [keras.Input((28, 28, 1))]
    for number, (_, filters, size) in enumerate(CONVOLUTIONS, start=1):
        layers += [
            keras.layers.Conv2D(filters, size, padding="same", use_bias=False, kernel_initializer="he_normal"),
            keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D() if number < len(CONVOLUTIONS) else keras.layers.GlobalMaxPooling2D(),
        ]
    layers.append(keras.layers.Dense(CLASSES, kernel_initializer="he_normal", dtype="float32"))
    options: dict[str, Any] = {"jit": jit, "note": f", policy {policy}", "precision": policy.removeprefix("mixed_")}
    return fit_keras(layers, keras.optimizers.Adam(RATE), *fit_arrays(data, BATCH), **options)


def pytorch(compiled: bool = False, bfloat16: bool = False) -> Contender:
    """PyTorch with the whole data set as one tensor, channels last."""
    import torch
    from torch import nn

    torch.set_num_threads(processors())
    torch.manual_seed(0)
    data = mnist(COUNT, (1, 28, 28))
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    layers: list[Any] = []
    for number, (channels, filters, size) in enumerate(CONVOLUTIONS, start=1):
        layers += [
            nn.Conv2d(channels, filters, size, padding="same", bias=False),
            nn.BatchNorm2d(filters, eps=EPSILON, momentum=1 - MOMENTUM),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2) if number < len(CONVOLUTIONS) else nn.AdaptiveMaxPool2d(1),
        ]
    head = nn.Linear(CONVOLUTIONS[-1][1], CLASSES)
    body = nn.Sequential(*layers, nn.Flatten())
    for module in (*layers, head):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    nn.init.zeros_(head.bias)
    model = nn.Sequential(body, head).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)

    def forward(x: Any, y: Any) -> tuple[Any, Any]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            features = body(x)
        logits = head(features.float())
        return nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).sum()

    run: Callable[[Any, Any], tuple[Any, Any]] = torch.compile(forward) if compiled else forward

    def turn() -> dict[str, float]:
        model.train()
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for rows in torch.randperm(COUNT).split(BATCH):
            loss, right = run(images[rows].contiguous(memory_format=torch.channels_last), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            correct += right
        return {"loss": total.item() / STEPS, "train_accuracy": correct.item() / COUNT}

    def accuracy() -> float:
        model.eval()
        with torch.no_grad():
            guesses = torch.cat([model(x).argmax(1) for x in torch.from_numpy(data.test_images).split(500)])
        return float((guesses.numpy() == data.test_labels).mean())

    note = f"{'torch.compile of forward and loss' if compiled else 'eager'}, channels last, fused Adam"
    return Contender(turn, accuracy, *("bfloat16", f"{note}, autocast") if bfloat16 else ("float32", note))


CONTENDERS: dict[str, Callable[[], Contender]] = {
    "tfmnist": partial(train_recipe, "cnn", OURS, COUNT),
    "tfmnist bfloat16": partial(train_recipe, "cnn", {**OURS, "train.precision": "bfloat16"}, COUNT),
    "PyTorch eager": pytorch,
    "PyTorch compiled": partial(pytorch, compiled=True),
    "PyTorch bfloat16": partial(pytorch, bfloat16=True),
    "PyTorch compiled bfloat16": partial(pytorch, compiled=True, bfloat16=True),
    "Keras fit": keras_fit,
    "Keras fit jit": partial(keras_fit, jit=True),
    "Keras fit bfloat16": partial(keras_fit, policy="mixed_bfloat16"),
    "limit": partial(convolution_limit, LAYERS, BATCH, STEPS, "float32"),
    "limit bfloat16": partial(convolution_limit, LAYERS, BATCH, STEPS, "bfloat16"),
}
GOALS = [
    Goal("PyTorch eager | PyTorch compiled", 1.0),
    Goal("Keras fit | Keras fit jit", 1.5),
    Goal("PyTorch bfloat16 | PyTorch compiled bfloat16", 1.0, own="tfmnist bfloat16"),
    Goal("Keras fit bfloat16", 1.5, own="tfmnist bfloat16"),
]
