"""Whether TensorFlow can compute in this process and in the current context; where it cannot, it hangs or crashes."""

import os

import tensorflow as tf

from tfmnist.errors import InputError

_has_lost_threads = False  # forked from a process whose TensorFlow had started its threads, which no fork copies


def check_runtime(*, in_scope: bool = False) -> None:
    """Raises an `InputError` unless TensorFlow can compute here, at once.

    Args:
        in_scope: whether the scope of a `tf.distribute` strategy does no harm, as when only variables are made.
    """
    if _has_lost_threads:
        raise InputError(
            f"process {os.getpid()} is a fork of one in which TensorFlow had computed: its threads are missing, so it "
            "would wait for ever; start processes with multiprocessing.get_context('spawn')."
        )
    if not tf.executing_eagerly():
        raise InputError(
            "TensorFlow is in graph mode: expected eager execution; call this outside tf.function and tf.Graph, and "
            "without tf.compat.v1.disable_eager_execution()."
        )
    if not in_scope and tf.distribute.has_strategy():
        name = type(tf.distribute.get_strategy()).__name__
        raise InputError(f"the scope of a {name} is open: expected none; call this outside strategy.scope().")


def _note_fork() -> None:
    global _has_lost_threads
    count = tf.config.threading.get_inter_op_parallelism_threads()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(count + 1)  # an error once TensorFlow has computed
        tf.config.threading.set_inter_op_parallelism_threads(count)
    except RuntimeError:
        _has_lost_threads = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
