"""User code that a recipe names: found, imported, and compared with the digest of its source.

`FILE.py:NAME` is a function or class in a file, which may import other files from its folder; `MODULE:NAME` is one in
an installed module. Such code runs only when its owner trains, resumes or exports the recipe.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tfmnist.errors import InputError, TfmnistError, did_you_mean
from tfmnist.recipe import Loss, Model, Optimizer, Recipe, is_own
from tfmnist.system.files import one_line

_given = {"model": ("image_shape", "classes", "seed"), "loss": ("logits", "labels")}
_given["optimizer"] = ("parameters", "learning_rate")  # what the package passes itself
_files: set[str] = set()  # the source files of all user code loaded so far


def pin(recipe: Recipe) -> Recipe:
    """Returns the recipe with the digests of the source code that it names, after checking the options of that code.

    Raises:
        InputError: the code cannot be imported, does not take an option, or has another digest than the recipe says.
    """
    sections = {"model": recipe.model, "loss": recipe.loss, "optimizer": recipe.optimizer}
    own = {name: section for name, section in sections.items() if is_own(section.kind)}
    for section in own.values():
        load_own(section)
    digests = {f"{name}.source_sha256": _digest(name, section.kind) for name, section in own.items()}
    return recipe.replace(digests) if own else recipe


def load_own(section: Model | Loss | Optimizer) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Imports what the `kind` of a section names, and returns it with its options.

    The signature decides which options there are, and its annotations which values they take.

    Raises:
        InputError: the code cannot be imported, does not have that name, does not take an option, or has another
            digest than the section says.
    """
    name, kind = type(section).__name__.lower(), section.kind
    digest = _digest(name, kind)
    if section.source_sha256 not in ("", digest):
        raise InputError(
            f"recipe key '{name}.source_sha256' is {section.source_sha256[:12]}..., but {kind} has {digest[:12]}...: "
            "its source has changed; restore it, or start a new run without that key."
        )
    where, _, attribute = kind.rpartition(":")
    with errors_in_one_line():
        module = _import(name, where, digest)
    function = getattr(module, attribute, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = did_you_mean(attribute, names)
        raise InputError(f"recipe key '{name}.kind' is {kind!r}: no function or class {attribute!r}{hint}")
    if name == "optimizer":
        from tfmnist.nn.optimizers import Optimizer as Rule  # imports TensorFlow, as that code does

        if not (isinstance(function, type) and issubclass(function, Rule)):
            raise InputError(f"recipe key 'optimizer.kind' is {kind!r}: expected a subclass of tfmnist.Optimizer.")
    return function, _check_options(name, function, section.options)


def name_of(kind: str) -> str:
    """Returns a kind without the folder of its file, which says nothing on another machine."""
    where, colon, name = kind.rpartition(":")
    return f"{Path(where).name}{colon}{name}" if where.endswith(".py") else kind


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turns an exception that user code raises into an `InputError` that names the line."""
    try:
        yield
    except TfmnistError:
        raise
    except Exception as error:
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _files]
        if isinstance(error, SyntaxError) and error.filename in _files:
            where = f"{error.filename}:{error.lineno}"
        elif lines:
            where = f"{lines[-1].filename}:{lines[-1].lineno}"
        else:
            raise
        raise InputError(f"{where}: {type(error).__name__}: {one_line(error)}; correct the code.") from error


def _import(section: str, where: str, digest: str) -> Any:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    name = f"{Path(where).stem}_{digest[:16]}"
    if name not in sys.modules:
        folder = str(Path(where).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)  # as for a script, which may import other files from its folder
        spec = importlib.util.spec_from_file_location(name, where)
        if spec is None or spec.loader is None:
            raise InputError(f"recipe key '{section}.kind' names {where}: expected a Python file.")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _check_options(section: str, function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options, their values converted to the annotated types."""
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    own = {n: p for n, p in list(named.items())[0 if section == "model" else 2 :] if n not in _given[section]}
    for name in options:
        if name not in own and (not takes_any or name in named):
            known = [f"{section}.options.{key}" for key in own]
            hint = did_you_mean(f"{section}.options.{name}", known) if known else "; the code takes no options."
            raise InputError(f"recipe key '{section}.options.{name}' does not exist{hint}")
    for name, parameter in own.items():
        if parameter.default is parameter.empty and name not in options:
            raise InputError(
                f"recipe key '{section}.options.{name}' is missing: expected a value, since it has no default."
            )
    target = function.__init__ if inspect.isclass(function) else function
    try:
        hints = get_type_hints(target)
    except Exception:  # an annotation that cannot be evaluated
        hints = {}
    checked = dict(options)
    for name, value in options.items():
        try:
            checked[name] = TypeAdapter(hints[name]).validate_python(value) if name in hints else value
        except ValidationError as error:
            expected = error.errors(include_url=False)[0]["msg"].replace("Input should be", "expected")
            raise InputError(f"recipe key '{section}.options.{name}' is {value!r}: {expected}.") from None
    return checked


def _digest(section: str, kind: str) -> str:
    """Returns the SHA-256 of the source that a kind names, and of all it imports from its folder or package."""
    where = kind.rpartition(":")[0]
    if where.endswith(".py"):
        path = Path(where)
        root = path.parent
    else:
        try:
            spec = importlib.util.find_spec(where)
        except (ImportError, ValueError):
            spec = None
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            raise InputError(
                f"recipe key '{section}.kind' is {kind!r}: there is no Python module {where!r}; install it, or name a "
                "file as FILE.py:NAME."
            )
        path = Path(spec.origin)
        root = path.parents[where.count(".") + (path.name == "__init__.py")]
    if not path.is_file():
        raise InputError(f"recipe key '{section}.kind' is {kind!r}: there is no file {path}; expected FILE.py:NAME.")
    digest = hashlib.sha256()
    for file in _sources(path, root):
        _files.add(str(file))
        digest.update(f"{file.relative_to(root).as_posix()}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _sources(path: Path, root: Path) -> list[Path]:
    """Returns a source file and all that it imports below `root`, directly or not, in a fixed order."""
    found, waiting = {path}, [path]
    while waiting:
        file = waiting.pop()
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):  # the import will say where
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [(root, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = file.parents[node.level - 1] if node.level else root
                module = node.module or ""
                names = [(base, module), *((base, f"{module}.{alias.name}".strip(".")) for alias in node.names)]
            else:
                continue
            for base, name in names:
                parts = name.split(".") if name else []
                for count in range(len(parts) + 1):
                    stem = base.joinpath(*parts[:count])
                    for other in (stem.with_suffix(".py") if count else stem, stem / "__init__.py"):
                        if count and other not in found and other.is_file():
                            found.add(other)
                            waiting.append(other)
    return sorted(found)
