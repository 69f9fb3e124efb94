"""The learners' notebook: all its cells run, and the committed outputs are up to date.

After changing the notebook, run `python tests/experiments/test_walkthrough.py` to execute it and write its outputs.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "experiments" / "walkthrough.ipynb"
Cell = dict[str, Any]

# A real kernel, started by a separate process, so that warnings of Jupyter's packages do not fail this suite. They talk
# through sockets in a temporary folder, not ports. The kernel ends with its client, even if that is killed.
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

source, destination, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
config = Config({"KernelManager": {"transport": "ipc", "connection_file": folder + "/kernel.json"}})
client = NotebookClient(
    notebook, config=config, kernel_name="python3", timeout=200, record_timing=False, coalesce_streams=True,
    resources={"metadata": {"path": folder}},
)
client.execute()
for cell in notebook.cells:
    if cell.cell_type == "code":  # what TensorFlow logs depends on the machine
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
notebook.metadata = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
nbformat.validate(notebook)
nbformat.write(notebook, destination)
"""


def execute(source: Path, destination: Path) -> None:
    """Runs all cells in a fresh kernel with a temporary home folder, and writes the notebook with their outputs."""
    with tempfile.TemporaryDirectory() as folder:  # not pytest's: the path of a socket must be short
        own = {"HOME": folder, "MPLCONFIGDIR": folder, "IPYTHONDIR": folder}
        own |= {f"JUPYTER_{kind}_DIR": folder for kind in ("CONFIG", "DATA", "RUNTIME")}
        command = [sys.executable, "-c", EXECUTE, str(source), str(destination), folder]
        done = subprocess.run(command, env=os.environ | own, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr


def cells_of(path: Path) -> list[Cell]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def texts_of(cell: Cell) -> list[str]:
    """The outputs of a cell that are text."""
    texts: list[str] = []
    for output in cell["outputs"]:
        parts = {"": output["text"]} if output["output_type"] == "stream" else output.get("data", {})
        texts += ["".join(text) for kind, text in parts.items() if not kind.startswith("image/")]
    return texts


def outline(cell: Cell) -> list[Any]:
    """What is the same on every machine: the kinds of a cell's outputs, and their texts without numbers and spaces."""
    kinds = [sorted(output.get("data", [output.get("name")])) for output in cell["outputs"]]
    return [kinds, [re.sub(r"\s|[-+]?\d[\d,.]*(e[-+]?\d+)?", "", text) for text in texts_of(cell)]]


def test_every_cell_runs_and_the_committed_outputs_are_up_to_date(tmp_path: Path) -> None:
    execute(NOTEBOOK, tmp_path / "executed.ipynb")
    for committed, executed in zip(cells_of(NOTEBOOK), cells_of(tmp_path / "executed.ipynb"), strict=True):
        assert outline(committed) == outline(executed), committed["id"]


def test_a_cell_that_raises_fails(tmp_path: Path) -> None:
    broken = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cell = next(cell for cell in broken["cells"] if cell["cell_type"] == "code")
    broken["cells"] = [{**cell, "source": ["assert 1 + 1 == 3, 'so it is'"]}]
    (tmp_path / "broken.ipynb").write_text(json.dumps(broken), encoding="utf-8")
    with pytest.raises(AssertionError, match="so it is"):
        execute(tmp_path / "broken.ipynb", tmp_path / "executed.ipynb")


def test_the_committed_notebook_is_executed() -> None:
    notebook, cells = json.loads(NOTEBOOK.read_text(encoding="utf-8")), cells_of(NOTEBOOK)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {(output["output_type"], output.get("name")) for output in outputs} == {
        ("execute_result", None),
        ("stream", "stdout"),
    }
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 8
    assert NOTEBOOK.stat().st_size < 600_000


def test_the_committed_notebook_does_not_mention_the_machine() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    texts = ["".join(cell["source"]) for cell in notebook["cells"]]
    texts += [text for cell in cells_of(NOTEBOOK) for text in texts_of(cell)]
    for text in texts:  # "/", a folder of the system's, "/"; or C:\
        assert not re.search(r"(?<![\w.])(/(home|root|Users|tmp|var|opt|usr|work|mnt|srv)\b|[A-Z]:\\|~/)", text), text


if __name__ == "__main__":
    execute(NOTEBOOK, NOTEBOOK)
