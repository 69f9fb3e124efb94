"""What the documents show: every Python block runs, every file loads, every command is parsed, every key is listed.

A block of Python or TOML whose first line is a comment with a name, `# my_net.py`, is that file, which later blocks and
commands use. The blocks of a document run in order, each in a fresh namespace, in one empty folder; the first 5,500 and
200 images of MNIST stand in for all of it.
"""

import ast
import functools
import gzip
import importlib
import json
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from PIL import Image

import tfmnist
from tfmnist.cli import main as cli
from tfmnist.cli.data import SUBCOMMANDS
from tfmnist.cli.options import parse_train
from tfmnist.data import sources
from tfmnist.recipe import Recipe
from tfmnist.sweeps import search
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.workers import Workers

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "experiments/README.md",
    *(ROOT / "docs").glob("*.md"),
]
PLACEHOLDERS = {"N": "1", "NAME": "mlp"}


def blocks(document: Path, language: str) -> list[str]:
    """The blocks of a document in a language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def file_name(block: str) -> str:
    """The name that the first line of a block gives it, or ""."""
    match = re.match(r"# ([\w.-]+\.(?:py|toml))\n", block)
    return match[1] if match else ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder from which Python imports, as it does from a script's; the files of README are in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    for block in [*blocks(ROOT / "README.md", "python"), *blocks(ROOT / "README.md", "toml")]:
        if name := file_name(block):
            (tmp_path / name).write_text(block, encoding="utf-8")
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def little(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first images of MNIST in place of all, and sweeps in this process, where they are in place too."""
    mnist, digits = tmp_path_factory.mktemp("mnist"), tfmnist.load("mnist", validation=0)
    for name, split, count in (("train", digits.train, 5500), ("t10k", digits.test, 200)):
        for kind, array in (("images-idx3", split.images[:count]), ("labels-idx1", split.labels[:count])):
            sizes = np.array(array.shape, ">u4").tobytes()
            content = bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()
            (mnist / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    monkeypatch.setattr(sources, "_MNIST", mnist)
    monkeypatch.setattr(search, "Workers", lambda *_, **__: Workers(-1))


def run_blocks(document: Path) -> list[dict[str, Any]]:
    """Runs the Python blocks of a document in order and returns their namespaces."""
    spaces: list[dict[str, Any]] = []
    for block in blocks(document, "python"):
        spaces.append({"__name__": "__main__"})
        exec(compile(block, document.name, "exec"), spaces[-1])
    return spaces


def shorten(path: Path, trials: int) -> None:
    """Leaves a sweep file as it is, but for the number of its trials and of the seeds that confirm its best."""
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    values["search"] |= {"trials": trials, "confirm": 1}
    path.write_text(tomli_w.dumps(values), encoding="utf-8")


def test_the_readme_runs(folder: Path, little: None, capsys: pytest.CaptureFixture[str]) -> None:
    shorten(folder / "widths.toml", trials=2)
    Image.fromarray(255 - tfmnist.load("mnist").test.images[0]).save(folder / "photo.jpg", quality=95)
    spaces = run_blocks(ROOT / "README.md")
    out = capsys.readouterr().out
    first, swept = spaces[0], next(space for space in spaces if "best" in space)
    assert float(out.split("test ")[1].split()[0]) > 0.7
    assert first["model"].sha256() == tfmnist.run("mlp", "whole", progress=False).result["weights_sha256"]
    assert [trial.state for trial in swept["result"].trials] == ["done", "done"] and "best: {'model.hidden': [" in out
    assert (folder / "sweeps/widths/report.html").exists() and (folder / "digits-model/2").is_dir()
    served = next(space for space in spaces if "serve" in space)
    assert served["serve"](images=served["images"])["logits"].shape == [1, 10]
    assert re.search(r"^read as \d\nnot read: status 1$", out, re.MULTILINE)


def test_the_readmes_own_code_trains_from_its_recipe(folder: Path, little: None) -> None:
    """A run of the recipe ends with the weights of `fit` with the same settings."""
    recipe = Recipe.load("my_net.toml").replace({"train.epochs": 1})
    run = tfmnist.run(recipe, "own", progress=False)
    module = runpy.run_path("my_net.py")
    digits = tfmnist.load("mnist")
    model = module["make"](digits.image_shape, digits.classes, seed=0, filters=32)
    tfmnist.fit(
        model,
        digits.train,
        validation=digits.validation,
        optimizer=module["SignSGD"](model.parameters, learning_rate=0.001),
        loss=functools.partial(module["focal"], gamma=1.5),
        epochs=1,
        average=recipe.train.average,
        progress=False,
    )
    assert run.result["weights_sha256"] == model.sha256()


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS[1:] if blocks(path, "python")], ids=lambda path: path.name
)
def test_the_other_documents_run(document: Path, folder: Path, little: None) -> None:
    assert len(run_blocks(document)) == document.read_text(encoding="utf-8").count("```python")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_documents_show_load(document: Path, folder: Path) -> None:
    for block in blocks(document, "toml"):
        path = folder / (file_name(block) or "unnamed.toml")
        path.write_text(block, encoding="utf-8")
        assert Sweep.load(path).space if "space" in tomllib.loads(block) else Recipe.load(path)


# Commands


def shown(text: str) -> list[str]:
    """The command lines in a Markdown text: the lines of its blocks, and the code in its sentences and tables."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    sentences = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [*lines, *re.findall(r"`([^`]+)`", sentences)]


def lines_of_the_project() -> dict[str, str]:
    """All lines that may be commands, of documents, the notebook and comments in recipes and sweeps, by place."""
    texts = {str(path.relative_to(ROOT)): shown(path.read_text(encoding="utf-8")) for path in DOCUMENTS}
    notebook = json.loads((ROOT / "experiments/walkthrough.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    texts["walkthrough.ipynb"] = shown("\n".join(cells))
    for path in [*(ROOT / "tfmnist/recipes").glob("*.toml"), *(ROOT / "experiments").rglob("*.toml")]:
        texts[str(path.relative_to(ROOT))] = re.findall(r"^#\s+(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {f"{place}: {line}": line for place, lines in texts.items() for line in lines}


COMMAND = re.compile(r"^(?:\.venv/bin/|python -m )?(tfmnist|make|pip install|python(?! -m)) +(?=[\w.'-])")
LINES = {place: line for place, line in lines_of_the_project().items() if COMMAND.match(line)}


def words_of(line: str) -> list[str]:
    words = shlex.split(COMMAND.sub("", line), comments=True)
    return [PLACEHOLDERS.get(word, word) for word in words]


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Any]:
    """The command line's own parser; the commands are replaced, so what they were given is all that comes of them."""
    given: list[Any] = []

    def only_parsed(command: Callable[..., Any]) -> Callable[..., None]:
        return functools.wraps(command)(lambda *_, **arguments: given.append(arguments))

    def train(words: list[str]) -> None:
        parsed = parse_train(words, "")
        given.append(Recipe.load(parsed.recipe or "mlp").replace(parsed.changes))

    monkeypatch.setattr(cli, "train", train)
    for commands in (cli.COMMANDS, SUBCOMMANDS):
        for name, command in commands.items():
            monkeypatch.setitem(commands, name, only_parsed(command))

    def parse(words: list[str]) -> Any:
        given.clear()
        assert cli.main(words) == 0
        return given

    return parse


@pytest.mark.parametrize("place", [place for place, line in LINES.items() if "tfmnist " in line.split("#")[0]])
def test_every_command_that_is_shown_is_parsed(
    place: str, folder: Path, parser: Callable[[list[str]], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_of(LINES[place])
    assert parser(words) or words[0].startswith("--"), capsys.readouterr().err


def test_the_parser_of_this_test_refuses_what_the_command_line_refuses(
    folder: Path, parser: Callable[[list[str]], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = (
        ["trian"],
        ["train", "--lerning_rate", "1"],
        ["train", "--optimizer.momentum", "0.5"],
        ["train", "mine.toml"],
    )
    for words in wrong:
        with pytest.raises(AssertionError):
            parser(words)
    usage = ["evaluate"], ["recipes", "mlp", "cnn"], ["study", "--sedes", "3"], ["export", "run"]
    for words in *usage, ["data", "shwo", "mnist"], ["data", "convert", "mnist"]:
        with pytest.raises(SystemExit):
            parser(words)
    assert parser(["study", "mlp", "--seeds", "3"])[0]["seeds"] == 3
    capsys.readouterr()


def test_enough_commands_were_found() -> None:
    tools = [COMMAND.match(line) for line in LINES.values()]
    counts = {tool: sum(match is not None and match[1] == tool for match in tools) for tool in ("tfmnist", "make")}
    assert counts["tfmnist"] >= 40 and counts["make"] >= 5
    assert {words_of(line)[0] for line in LINES.values() if line.startswith("tfmnist ")} >= set(cli.COMMANDS)


def test_make_targets_extras_and_scripts_that_are_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for place, line in LINES.items():
        tool = COMMAND.match(line)
        assert tool
        if tool[1] == "make":
            assert set(words_of(line)) <= targets, place
        elif tool[1] == "python":
            assert (ROOT / words_of(line)[0]).is_file(), place
        for extra in re.findall(r"'\.\[([\w,-]+)\]'", line):
            assert set(extra.split(",")) <= set(project["optional-dependencies"]), place


def test_commands_in_messages_exist() -> None:
    """`tfmnist NAME` in the strings of the package names a command."""
    named: dict[str, str] = {}
    for path in (ROOT / "tfmnist").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                named |= {name: str(path) for name in re.findall(r"(?<![\w.-])tfmnist ([a-z]+)\b", node.value)}
    assert {"sweep", "train"} <= set(named) <= set(cli.COMMANDS), named


# Keys


def test_the_page_of_keys_is_up_to_date() -> None:
    """If it is not: python docs/keys.py."""
    page = runpy.run_path(str(ROOT / "docs/keys.py"))["page"]()
    assert page == (ROOT / "docs/keys.md").read_text(encoding="utf-8")
    for key in [*(key.partition(".")[2] for key in Recipe.key_names()), "extends", "name", "low", "trials", "keep"]:
        assert f"| `{key}`" in page
