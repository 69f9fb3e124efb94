"""What the tests of figures share."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from tfmnist.reports import style


@pytest.fixture
def rendered(tmp_path: Path) -> Callable[[Figure], bytes]:
    """Saves a figure, checks that it is a PNG of sensible size, neither blank nor cut off, and returns its bytes."""

    def render(figure: Figure) -> bytes:
        path = tmp_path / "figure.png"
        style.save(figure, path)
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) < 600_000
        for word in (b"Software", b"tIME", b"Date"):
            assert word not in content
        pixels = imread(BytesIO(content), format="png")
        height, width = pixels.shape[:2]
        assert 300 <= width <= 2000
        assert 80 <= height <= 2200
        assert pixels[..., :3].min() < 0.5, "nothing is drawn"
        assert np.all(pixels[[0, -1], :, :3] == 1), "something is cut off above or below"
        assert np.all(pixels[:, [0, -1], :3] == 1), "something is cut off at a side"
        return content

    return render
