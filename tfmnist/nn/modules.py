"""Variables and modules inside a module, found at any depth and named by path, such as `block_1/conv_1/kernel`."""

from abc import ABCMeta
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from tfmnist.errors import InputError

_making: ContextVar[tuple[str, ...]] = ContextVar("making", default=())  # names of the layers under construction


class Scoped(ABCMeta):
    """The metaclass of `Layer`: a layer made in another layer's constructor gets a path that begins with that layer's.

    So two equal blocks start from different weights, although the layers in them have the same names and seed.
    """

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        outside = _making.set(_making.get())
        try:
            layer = super().__call__(*arguments, **keywords)
            if not hasattr(layer, "path"):
                raise InputError(f"{cls.__name__}: its constructor must call super().__init__(name, output_shape).")
            return layer
        finally:
            _making.reset(outside)


def enter(name: str) -> str:
    """Returns the path of the layer whose constructor calls this; its other layers are then inside it."""
    _making.set((*_making.get(), name))
    return "/".join(_making.get())


def walk(module: tf.Module) -> Iterator[tuple[str, tf.Module | tf.Variable, bool]]:
    """Yields path, object, and whether it is frozen, for each module and variable inside a module, each once.

    It finds what `tf.Module` finds: attributes, and what lists, tuples and dictionaries in attributes hold, in the
    order in which they were set. A layer goes by its name, any other module or variable by its attribute (`blocks/0`
    in a list).

    Raises:
        InputError: two of them have the same path.
    """
    paths: dict[str, str] = {}
    for path, origin, item, frozen in _walk(module, "", "", False, {id(module)}):
        if path in paths:
            raise InputError(
                f"two layers or variables are named {path!r} (at {paths[path]} and {origin}): expected a unique "
                "name for each; rename one."
            )
        paths[path] = origin
        yield path, item, frozen


def named_variables(module: tf.Module) -> dict[str, tf.Variable]:
    """Returns all variables inside a module by path; raises an `InputError` if two have the same path."""
    return {path: item for path, item, _ in walk(module) if isinstance(item, tf.Variable)}


def _walk(
    module: tf.Module, path: str, origin: str, frozen: bool, seen: set[int]
) -> Iterator[tuple[str, str, Any, bool]]:
    frozen = frozen or getattr(module, "frozen", False) is True
    ignored = module._TF_MODULE_IGNORED_PROPERTIES  # type: ignore[attr-defined]  # how TensorFlow itself tracks the attributes
    for name, value in list(vars(module).items()):
        for attribute, item in _leaves(name, value) if name not in ignored else ():
            if id(item) in seen:
                continue
            seen.add(id(item))
            own = item.name if isinstance(type(item), Scoped) else attribute
            below, where = f"{path}/{own}".lstrip("/"), f"{origin}.{attribute}".lstrip(".")
            yield below, where, item, frozen or getattr(item, "frozen", False) is True
            if isinstance(item, tf.Module):
                yield from _walk(item, below, where, frozen, seen)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, tf.Module | tf.Variable):
        yield name, value
    elif isinstance(value, list | tuple | Mapping):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _leaves(f"{name}/{key}", item)
