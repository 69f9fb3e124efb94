"""Evaluation: every example counts once, whatever is left for the last batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfmnist.data.sources import load
from tfmnist.data.split import Split
from tfmnist.errors import InputError
from tfmnist.nn.models import MLP
from tfmnist.training.evaluation import evaluate, outputs


def split_of(count: int, shape: tuple[int, int] = (4, 5), classes: int = 3) -> Split:
    random = np.random.default_rng(count)
    return Split(random.integers(0, 256, [count, *shape], np.uint8), random.integers(0, classes, count))


def network() -> MLP:
    return MLP((4, 5), [6], 3, seed=2)


class Recording(Split):
    """Records every position that is read."""

    reads: list[int]

    def take(self, positions: Any) -> Any:
        self.reads = [*getattr(self, "reads", []), *positions.tolist()]
        return super().take(positions)


def reference_losses(kind: str, logits: Any, labels: Any) -> Any:
    logits = logits.astype(np.float64)
    if kind == "quadratic":
        return np.square(1 / (1 + np.exp(-logits)) - np.eye(3)[labels]).sum(axis=1) / 2
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]


@pytest.mark.parametrize("kind", ["cross_entropy", "quadratic"])
@pytest.mark.parametrize("count", [1, 999, 1_000, 1_001, 2_500])
def test_every_example_counts_once(kind: str, count: int) -> None:
    model, split = network(), split_of(count)
    logits = model.logits(split.images).numpy()
    losses = reference_losses(kind, logits, split.labels)
    metrics, probabilities, _ = outputs(model, split, kind)
    assert metrics.count == metrics.confusion.sum() == len(probabilities) == count
    assert metrics.correct == (logits.argmax(axis=1) == split.labels).sum()
    assert metrics.accuracy == metrics.correct / count
    assert metrics.loss == pytest.approx(losses.mean(), rel=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert evaluate(model, split, kind).to_dict("abc") == metrics.to_dict("abc")


def test_the_examples_are_taken_in_order_and_once() -> None:
    whole = split_of(2_500)
    split = Recording(whole.images, whole.labels)
    evaluate(network(), split)
    assert split.reads == list(range(2_500))


def test_a_part_of_a_data_set_is_measured_alone() -> None:
    whole, rows = split_of(1_500), np.arange(1, 1_500, 3)
    part = Split(whole.images, whole.labels, rows)
    alone = Split(whole.images[rows], whole.labels[rows])
    assert evaluate(network(), part).to_dict("abc") == evaluate(network(), alone).to_dict("abc")


def test_evaluation_changes_no_weight() -> None:
    model = MLP((4, 5), [6], 3, batch_norm=True, dropout=0.5, seed=2)
    before = model.sha256()
    first, second = (evaluate(model, split_of(50)).loss for _ in range(2))
    assert first == second
    assert model.sha256() == before


def test_an_empty_split_is_no_error() -> None:
    metrics, probabilities, _ = outputs(network(), split_of(0))
    assert (metrics.count, metrics.accuracy, metrics.loss) == (0, 0.0, 0.0)
    assert metrics.accuracy_ci95 == (0.0, 1.0)
    assert probabilities.shape == (0, 3)


@pytest.mark.parametrize("count", [0, 5])
def test_images_of_another_size_are_refused(count: int) -> None:
    with pytest.raises(InputError, match="images are 5x4 but the model takes 4x5"):
        evaluate(network(), split_of(count, shape=(5, 4)))


@pytest.mark.parametrize("label", [3, 255, -1])
def test_a_label_beyond_the_classes_is_refused(label: int) -> None:
    split = Split(np.zeros([2, 4, 5], np.uint8), np.array([0, label]))
    with pytest.raises(InputError, match=f"label {label} is beyond the model's 3 classes"):
        evaluate(network(), split)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(InputError, match="cross_entropy"):
        evaluate(network(), split_of(5), "cross_entrpy")


def test_real_images_are_counted_by_class(small: Path) -> None:
    digits = load(small, validation=0)
    metrics = evaluate(MLP((28, 28), [16], 10, seed=0), digits.test)
    assert metrics.confusion.sum(axis=1).tolist() == np.bincount(digits.test.labels).tolist()
    assert 2.0 < metrics.loss < 4.0  # untrained: log 10 is 2.3
