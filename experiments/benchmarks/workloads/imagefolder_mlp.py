"""The `imagefolder-mlp` recipe: pictures in folders, `train/<class>/*.png`, from a cold start to trained epochs.

The first turn reads and decodes every picture and trains an epoch; later turns train one more. Every contender writes
its own copy of the folder just before, so that the files are in the system's cache for all, and decoded for none.
"""

# pyright: reportMissingImports=false
# the rivals are not among the package's dependencies

import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from turns import Contender, Goal, processors
from workloads.data import fit_keras
from workloads.limit import dense_limit

WORK = "784-256-10, ReLU, Adam 0.001, batch 64; pictures in folders: reading them, one epoch of 60,000"
UNIT = "epoch"
STEPS = 938
BATCH, HIDDEN, CLASSES, RATE = 64, 256, 10, 0.001


def write_pictures() -> "tempfile.TemporaryDirectory[str]":
    """Returns a temporary folder with MNIST as `tfmnist pictures` writes it, in `pictures/`."""
    import tfmnist
    from tfmnist.data.convert import write_folder

    folder = tempfile.TemporaryDirectory(prefix="tfmnist-pictures-", ignore_cleanup_errors=True)
    for _ in write_folder(tfmnist.load("mnist"), Path(folder.name) / "pictures"):
        pass
    return folder


def own() -> Contender:
    """tfmnist: all pictures decoded at once, into an empty cache; the test pictures too."""
    import tensorflow  # noqa: F401  # the rivals import theirs in the set-up too

    import tfmnist
    from tfmnist.runs.build import build_trainer, make_model
    from tfmnist.training.events import Epoch

    folder = write_pictures()
    os.environ["TFMNIST_CACHE"] = str(Path(folder.name) / "cache")
    changes = {"data.validation": 0, "train.epochs": 1_000_000}
    recipe = tfmnist.Recipe.load("imagefolder-mlp").replace(changes)
    model = make_model(recipe.model, (28, 28), CLASSES, recipe.train.seed)
    digits: Any = None

    def train() -> Iterator[Any]:
        nonlocal digits
        digits = tfmnist.load(Path(folder.name) / "pictures", validation=0)
        yield from build_trainer(recipe, digits, model).run()

    events = train()

    def turn() -> dict[str, float]:
        epoch = next(event for event in events if isinstance(event, Epoch))
        return {"loss": epoch.loss, "train_accuracy": epoch.accuracy}

    return Contender(
        turn,
        lambda: tfmnist.evaluate(model, digits.test).accuracy,
        note="decoded once, then uint8 in memory; compile xla",
        close=folder.cleanup,
    )


def pytorch(workers: int = 0, in_memory: bool = False) -> Contender:
    """PyTorch: a map-style Dataset that decodes each file on access, as ImageFolder does; or all decoded once."""
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(processors())
    torch.manual_seed(0)
    folder = write_pictures()

    class Pictures(Dataset[tuple[Any, int]]):
        def __init__(self, root: Path) -> None:
            classes = sorted(path for path in root.iterdir() if path.is_dir())
            self.files = [(str(file), label) for label, path in enumerate(classes) for file in sorted(path.iterdir())]

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            file, label = self.files[index]
            with Image.open(file) as picture:
                return torch.from_numpy(np.array(picture.convert("L"))), label  # scaled once per batch: faster

    model = nn.Sequential(nn.Flatten(), nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    for layer in (model[1], model[3]):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)

    def read() -> Generator[Iterable[tuple[Any, Any]], None, None]:
        """Yields the batches of each epoch; reads the folder when first used."""
        pictures = Pictures(Path(folder.name) / "pictures" / "train")
        options = {"num_workers": workers, "persistent_workers": workers > 0}
        if not in_memory:
            loader = DataLoader(pictures, BATCH, shuffle=True, **options)
            while True:
                yield loader
        decoded = list(DataLoader(pictures, 1024, **options))
        images, labels = (torch.cat(parts) for parts in zip(*decoded))
        while True:
            yield ((images[rows], labels[rows]) for rows in torch.randperm(len(images)).split(BATCH))

    epochs = read()

    def turn() -> dict[str, float]:
        total, correct, count = torch.zeros(()), torch.zeros((), dtype=torch.int64), 0
        for x, y in next(epochs):
            logits = model(x.float().mul_(1 / 255))
            loss = nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(y)
            correct += (logits.argmax(1) == y).sum()
            count += len(y)
        return {"loss": total.item() / count, "train_accuracy": correct.item() / count}

    def accuracy() -> float:
        with torch.no_grad():
            test = DataLoader(Pictures(Path(folder.name) / "pictures" / "test"), 1000)
            return sum(int((model(x.float() / 255).argmax(1) == y).sum()) for x, y in test) / 10_000

    def close() -> None:
        epochs.close()  # ends the loader's processes
        folder.cleanup()

    how = "decoded once, then uint8 in memory" if in_memory else f"DataLoader, {workers} worker processes"
    return Contender(turn, accuracy, note=f"PIL, {how}; eager, fused Adam", close=close)


def keras_cached() -> Contender:
    """Keras: `image_dataset_from_directory`, decoded in parallel, cached in memory, `fit`."""
    import keras

    folder = write_pictures()
    keras.utils.set_random_seed(0)
    dense = partial(keras.layers.Dense, kernel_initializer="he_normal")
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), dense(HIDDEN, activation="relu"), dense(CLASSES)]

    def pictures(part: str, batch: int | None) -> Any:
        root = Path(folder.name) / "pictures" / part
        options = {"color_mode": "grayscale", "image_size": (28, 28), "batch_size": batch, "verbose": False}
        return keras.utils.image_dataset_from_directory(root, shuffle=False, **options)

    return fit_keras(
        [keras.Input((28, 28, 1)), *layers],
        keras.optimizers.Adam(RATE),
        lambda: {"x": pictures("train", None).cache().shuffle(60_000).batch(BATCH).prefetch(2)},
        lambda: {"x": pictures("test", 1000)},
        note=", image_dataset_from_directory, cache, shuffle",
        close=folder.cleanup,
    )


CONTENDERS: dict[str, Callable[[], Contender]] = {
    "tfmnist": own,
    "PyTorch 2 workers": partial(pytorch, workers=2),
    "PyTorch no workers": pytorch,
    "PyTorch in memory": partial(pytorch, workers=2, in_memory=True),
    "Keras cached": keras_cached,
    "limit": partial(dense_limit, (784, HIDDEN, CLASSES), BATCH, STEPS),
}
GOALS = [
    Goal("PyTorch 2 workers | PyTorch no workers", 2.0, turns="first"),
    Goal("PyTorch in memory", 2.0),
]
