"""The events of a training, whose names are those of a file format."""

from dataclasses import replace

from tfmnist.training.events import Epoch


def test_an_epoch_is_a_line_of_metrics() -> None:
    names = (
        "epoch, step, loss, accuracy, validation_loss, validation_accuracy, learning_rate, seconds, images_per_second"
    )
    epoch = Epoch(1, 6, 1.0, 0.5, None, None, 0.001, 1.0, 100.0)
    assert list(epoch.to_row()) == names.split(", ")
    assert list(replace(epoch, metrics={"top2": 0.9}).to_row()) == [*names.split(", "), "metrics"]
