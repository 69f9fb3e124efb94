"""Handwritten-digit recognition with low-level TensorFlow: raw variables, GradientTape, nothing hidden.

Importing this package does not import TensorFlow; using a name that needs it does, without the log that TensorFlow
otherwise prints, unless you set `TF_CPP_MIN_LOG_LEVEL`. The public names are listed in `__init__.pyi`, for type
checkers and for this module, which imports each when it is first used.
"""

from tfmnist.system.import_log import hide_import_log
from tfmnist.system.lazy import lazy_names
from tfmnist.system.machine import VERSION
from tfmnist.system.streams import reserve_descriptors

__version__ = VERSION

reserve_descriptors()
hide_import_log()
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__, globals())
