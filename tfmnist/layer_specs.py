"""The strings that describe a CNN's layers, parsed."""

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
)


class Layer(BaseModel):
    """One entry of `model.layers`, parsed."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["conv", "max", "average", "global", "flatten", "dense", "dropout"]
    units: int = 0  # filters of a convolution, units of a dense layer
    size: tuple[int, int] = (0, 0)  # kernel or window, height and width
    stride: int = 1
    padding: Literal["SAME", "VALID"] = "SAME"
    rate: float = 0.0  # of dropout
    pool: Literal["max", "average"] = "max"  # of global pooling


_LAYER_FORMS = (
    "'conv FILTERS HxW [/STRIDE] [valid]', 'max N', 'average N', 'global max|average', 'flatten', 'dense UNITS', "
    "'dropout RATE'"
)


def parse_layer(text: str) -> Layer:
    """Parses one entry of `model.layers`.

    Example:
        >>> layer = parse_layer("conv 32 5x5 /2")
        >>> layer.units, layer.size, layer.stride, layer.padding
        (32, (5, 5), 2, 'SAME')
    """
    words = text.split()
    try:
        match words:
            case ["conv", filters, size, *rest]:
                height, width = (int(part) for part in size.split("x"))
                stride, padding = 1, "SAME"
                for word in rest:
                    if word.startswith("/"):
                        stride = int(word[1:])
                    elif word in ("same", "valid"):
                        padding = word.upper()
                    else:
                        raise ValueError
                layer = Layer(kind="conv", units=int(filters), size=(height, width), stride=stride, padding=padding)  # type: ignore[arg-type]
                fine = layer.units > 0 and min(layer.size) > 0 and stride > 0
            case [("max" | "average") as kind, window]:
                layer = Layer(kind=kind, size=(int(window), int(window)), stride=int(window))
                fine = layer.stride > 0
            case ["global", ("max" | "average") as pool]:
                layer, fine = Layer(kind="global", pool=pool), True
            case ["flatten"]:
                layer, fine = Layer(kind="flatten"), True
            case ["dense", units]:
                layer = Layer(kind="dense", units=int(units))
                fine = layer.units > 0
            case ["dropout", rate]:
                layer = Layer(kind="dropout", rate=float(rate))
                fine = 0 <= layer.rate < 1
            case _:
                raise ValueError
        if not fine:
            raise ValueError
    except ValueError:
        raise ValueError(f"recipe key 'model.layers' has {text!r}: expected one of {_LAYER_FORMS}.") from None
    return layer
