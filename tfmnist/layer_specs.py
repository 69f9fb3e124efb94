"""Layer specifications: parses the strings that describe a CNN's layers, such as 'conv 32 5x5'."""

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class LayerSpec:
    """One layer of a network, without its normalisation and activation."""

    kind: Literal["conv", "max", "average", "global", "flatten", "dense", "dropout", "noise"]
    units: int = 0  # filters of a convolution, units of a dense layer
    size: tuple[int, int] = (0, 0)  # kernel or window, height and width
    stride: int = 1
    padding: Literal["SAME", "VALID"] = "SAME"
    rate: float = 0.0  # of dropout
    deviation: float = 0.0  # of noise
    pool: Literal["max", "average"] = "max"  # of global pooling
    text: str = field(default="", compare=False)  # as it was written


MOST = 2**20  # units, filters, or pixels of a window or a stride

_FORMS = (
    "'conv FILTERS HxW [/STRIDE] [valid]', 'max N', 'average N', 'global max|average', 'flatten', 'dense UNITS', "
    "'dropout RATE', 'noise DEVIATION', with numbers of at most 1,048,576"
)


def parse_layer(text: str) -> LayerSpec:
    """Parses one entry of `model.layers`, or raises a `ValueError` if it has none of the known forms."""
    try:
        return replace(_parse(text.split()), text=text)
    except ValueError:
        raise ValueError(f"recipe key 'model.layers' has {text[:60]!r}: expected one of {_FORMS}.") from None


def _parse(words: list[str]) -> LayerSpec:
    match words:
        case ["conv", filters, size, *options]:
            height, width = map(_positive, size.split("x"))
            stride, padding = 1, "SAME"
            for option in options:
                if option.startswith("/"):
                    stride = _positive(option[1:])
                elif option in ("same", "valid"):
                    padding = option.upper()
                else:
                    raise ValueError
            return LayerSpec("conv", _positive(filters), (height, width), stride, padding)  # type: ignore[arg-type]
        case [("max" | "average") as kind, window]:
            side = _positive(window)
            return LayerSpec(kind, size=(side, side), stride=side)
        case ["global", ("max" | "average") as pool]:
            return LayerSpec("global", pool=pool)
        case ["flatten"]:
            return LayerSpec("flatten")
        case ["dense", units]:
            return LayerSpec("dense", _positive(units))
        case ["noise", deviation] if 0 <= float(deviation) < 1e6:
            return LayerSpec("noise", deviation=float(deviation))
        case ["dropout", rate] if 0 <= float(rate) < 1:
            return LayerSpec("dropout", rate=float(rate))
        case _:
            raise ValueError


def _positive(text: str) -> int:
    if not 1 <= (number := int(text)) <= MOST:
        raise ValueError
    return number
