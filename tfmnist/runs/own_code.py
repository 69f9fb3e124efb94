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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tfmnist.errors import InputError, TfmnistError, did_you_mean
from tfmnist.recipe import Loss, Model, Optimizer, Recipe, is_own
from tfmnist.system.files import one_line

_given = {"model": ("image_shape", "classes", "seed"), "loss": ("logits", "labels")}
_given["optimizer"] = ("parameters", "learning_rate")  # what the package passes itself
_texts: dict[str, str] = {}  # of the source files of all user code loaded so far
_INSTALLED = ("site-packages", "dist-packages")


def pin(recipe: Recipe) -> Recipe:
    """Returns the recipe with the digests of the source code that it names, after checking the options of that code.

    Raises:
        InputError: the code cannot be imported, does not take an option, or has another digest than the recipe says.
    """
    sections = {"model": recipe.model, "loss": recipe.loss, "optimizer": recipe.optimizer}
    own = {name: section for name, section in sections.items() if is_own(section.kind)}
    for section in own.values():
        load_own(section)
    digests = {f"{name}.source_sha256": source_digest(name, section.kind) for name, section in own.items()}
    return recipe.replace(digests) if own else recipe


def load_own(section: Model | Loss | Optimizer) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Imports what the `kind` of a section names, and returns it with its options.

    The signature decides which options there are, and its annotations which values they take.

    Raises:
        InputError: the code cannot be imported, does not have that name, does not take an option, or has another
            digest than the section says.
    """
    name, kind = type(section).__name__.lower(), section.kind
    sources, root = _sources(name, kind)
    digest = _digest(sources, root)
    if section.source_sha256 not in ("", digest):
        raise InputError(
            f"recipe key '{name}.source_sha256' is {section.source_sha256[:12]}..., but {kind} has {digest[:12]}...: "
            "its source has changed; restore it, or start a new run without that key."
        )
    where, _, attribute = kind.rpartition(":")
    _forget_others(sources, root)
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


def source_digest(section: str, kind: str) -> str:
    """Returns the SHA-256 of the source that `SECTION.kind` names; an `InputError` if there is none."""
    return _digest(*_sources(section, kind))


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
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _texts]
        if isinstance(error, SyntaxError) and error.filename in _texts:
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
        # as for a script, which may import others from its folder
        sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
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
    parameters = _parameters(section, function)
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
                f"recipe key '{section}.options.{name}' is missing: expected a value, since it has no default; set it "
                "in the recipe."
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


def _parameters(section: str, function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Returns the parameters by name, of a class those of its constructor, that take what the package passes itself."""
    is_class = inspect.isclass(function)  # whose own signature would be that of its metaclass
    signature = inspect.signature(function.__init__ if is_class else function)
    parameters = list(signature.parameters.values())[1 if is_class else 0 :]
    given = _given[section]
    positional, named = (given[:2], {"seed": 0}) if section == "model" else (given, {})
    try:
        signature.replace(parameters=parameters).bind_partial(*positional, **named)
    except TypeError as error:
        raise InputError(
            f"recipe key '{section}.kind' names {function.__name__}{signature}: {error}; expected "
            f"({', '.join(given)}) and options by name."
        ) from None
    return {parameter.name: parameter for parameter in parameters}


def _digest(sources: Sequence[Path], root: Path) -> str:
    """Returns the SHA-256 of source files and of their names below a folder."""
    digest = hashlib.sha256()
    for file in sources:
        digest.update(f"{file.relative_to(root).as_posix()}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _forget_others(sources: Sequence[Path], root: Path) -> None:
    """Forgets modules that another folder, or an older version of a file, left under the names of these sources.

    Otherwise the user's code would import those, in a process that had loaded them before, and not what it names.
    """
    modules: dict[str, Path] = {}
    for file in sources:
        parts = file.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    texts = {str(file): file.read_text(errors="replace") for file in sources}
    loaded = {name: file for name, file in modules.items() if name in sys.modules}
    if any(getattr(sys.modules[name], "__file__", "") != str(file) for name, file in loaded.items()) or any(
        _texts.get(file, text) != text for file, text in texts.items()
    ):
        for name in loaded:
            del sys.modules[name]
        importlib.invalidate_caches()
    _texts.update(texts)


def _sources(section: str, kind: str) -> tuple[list[Path], Path]:
    """Returns the source that a kind names, with all that it imports from its folder or package, and that folder."""
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
    return _imported(path, root), root


def _imported(path: Path, root: Path) -> list[Path]:
    """Returns a source file and all that it imports below `root`, directly or not, in a fixed order.

    Other installed packages are left out: a run's versions are those of its environment.
    """
    own = path.relative_to(root).with_suffix("").parts[0]
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
                if base == root and parts[:1] != [own] and (root.name in _INSTALLED or parts[:1] == ["tfmnist"]):
                    continue
                for count in range(1, len(parts) + 1):
                    stem = base.joinpath(*parts[:count])
                    for other in (stem.with_suffix(".py"), stem / "__init__.py"):
                        if other not in found and other.is_file():
                            found.add(other)
                            waiting.append(other)
    return sorted(found)
