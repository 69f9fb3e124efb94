"""Changes one operator, number, condition or loop of a module at a time, and asks whether its tests notice.

    pip install cosmic-ray
    python experiments/reliability/mutants.py nn/losses [--every 1] [--tests tests/nn/test_losses.py ...]

A mutant is killed if a test fails or takes too long, else it survives, and is printed as a changed line: then a test
is missing, or the change makes no difference. The changes are those of Cosmic Ray but for the kinds that any call
rejects, such as shifts of floating-point numbers and changed annotations. The project is copied; each mutant's tests
run in a fork of one process that has imported TensorFlow.
"""

import argparse
import difflib
import importlib
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from tables import markdown

PROJECT = Path(__file__).parents[2]
# of types that the operators do not take, unions of types, identity of small integers, decorators of the import
TRIVIAL = re.compile(
    r"_(RShift|LShift|BitXor|BitOr|BitAnd|Mod|Invert)$|_BitOr_|(Eq|Lt|LtE|Gt|GtE)_(Is|IsNot)$|RemoveDecorator|USub_Not$"
)
LONGEST = 120  # seconds


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yields the line that was changed, before and after, and the whole text of each mutant."""
    plugins, mutating = (importlib.import_module(f"cosmic_ray.{name}") for name in ("plugins", "mutating"))
    for name in plugins.operator_names():
        kind = plugins.get_operator(name)
        if kind.arguments() or TRIVIAL.search(name):
            continue
        for occurrence in range(sys.maxsize):
            changed = mutating.mutate_code(source, kind(), occurrence)
            if changed is None:
                break
            if _compiles(changed):
                yield _difference(source, changed), changed


def _compiles(source: str) -> bool:
    try:
        compile(source, "", "exec")
    except SyntaxError:
        return False
    return True


def _difference(before: str, after: str) -> str:
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[2:]
    number = re.findall(r"\d+", lines[0])[0]
    old, new = ("; ".join(line[1:].strip() for line in lines[1:] if line[0] == sign) for sign in "-+")
    return f"{number}: {old}  ->  {new}"


def _run_tests(copy: Path, tests: list[str]) -> None:
    os.setsid()
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    output = os.open(os.devnull, os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os._exit(int(importlib.import_module("pytest").main(["-x", "-q", "-p", "no:cacheprovider", *tests])))


def survives(copy: Path, tests: list[str]) -> bool:
    """Runs the tests of a copy of the project in a fork of this process; returns whether all pass in time."""
    process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(copy, tests))
    process.start()
    process.join(LONGEST)
    if process.exitcode is None and process.pid:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", help="for example nn/losses")
    parser.add_argument("--tests", nargs="+", help="by default the module's own")
    parser.add_argument("--every", type=int, default=1, help="take one of so many mutants")
    given = parser.parse_args()
    folder, _, name = given.module.rpartition("/")
    tests = given.tests or [f"tests/{folder}/test_{name}.py"]
    sys.dont_write_bytecode = True  # a file changed twice in a second has the bytecode of the first
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    importlib.import_module("tensorflow")
    with tempfile.TemporaryDirectory() as path:
        copy = Path(path)
        shutil.copytree(PROJECT / "tfmnist", copy / "tfmnist", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(PROJECT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "pyproject.toml", copy)
        module = copy / "tfmnist" / f"{given.module}.py"
        source = module.read_text()
        if not survives(copy, tests):
            raise SystemExit(f"{' '.join(tests)}: fail without a change")
        total = killed = 0
        for number, (difference, changed) in enumerate(mutants(source)):
            if number % given.every:
                continue
            module.write_text(changed)
            total += 1
            if survives(copy, tests):
                print(difference, flush=True)
            else:
                killed += 1
    row = [given.module, str(total), str(killed), str(total - killed), f"{killed / total:.1%}"]
    print(markdown(["module", "mutants", "killed", "survived", "score"], [row]))


if __name__ == "__main__":
    main()
