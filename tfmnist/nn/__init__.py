"""Networks on raw variables: layers, losses, metrics, optimizers, schedules; `__init__.pyi` lists the public names."""

from tfmnist.system.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__, globals())
