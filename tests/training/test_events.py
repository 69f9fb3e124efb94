"""The events of a training, whose names are those of a file format."""

from dataclasses import asdict

from tfmnist.training.events import Epoch


def test_an_epoch_is_a_line_of_metrics() -> None:
    names = (
        "epoch, step, loss, accuracy, validation_loss, validation_accuracy, learning_rate, seconds, images_per_second"
    )
    assert list(asdict(Epoch(1, 6, 1.0, 0.5, None, None, 0.001, 1.0, 100.0))) == names.split(", ")
