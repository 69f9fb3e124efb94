"""Prints the tests of what differs from a commit, HEAD by default: `python tests/changed.py [COMMIT]`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALWAYS = ["tests/test_layering.py", "tests/test_recipe.py"]


def git(*words: str) -> list[str]:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def tests_of(name: str) -> list[str]:
    """The tests of a file: itself if it is a test, else the one that mirrors it."""
    path = Path(name)
    if path.suffix != ".py":
        return []
    if path.parts[0] == "tests":
        return [name] if path.name.startswith("test_") else []
    below = path.relative_to("tfmnist") if path.parts[0] == "tfmnist" else path
    return [str(Path("tests", below.parent, f"test_{path.name}"))]


if __name__ == "__main__":
    changed = [
        *git("diff", "--name-only", *(sys.argv[1:] or ["HEAD"])),
        *git("ls-files", "--others", "--exclude-standard"),
    ]
    tests = {test for name in changed for test in tests_of(name) if (ROOT / test).is_file()}
    print("\n".join(sorted({*ALWAYS, *tests})))
