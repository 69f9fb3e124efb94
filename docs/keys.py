"""Writes keys.md, the page about all keys of recipes and sweep files, from their types: `python docs/keys.py`."""

import json
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

from pydantic import BaseModel

from tfmnist.cli.options import SHORT_FORMS
from tfmnist.recipe import About, Kinds, Recipe, Section
from tfmnist.sweeps import sweep_file
from tfmnist.sweeps.sweep_file import File, Range, Search

COLUMNS = ("key", "value", "default", "meaning")
PAGE = Path(__file__).with_name("keys.md")
TOP = """\
<!-- Written by docs/keys.py from the types of the package; a test compares them. -->
# All keys of recipes and sweep files

See [recipes](#recipes) and [sweep files](#sweep-files).

## Recipes

A recipe is a TOML file with the keys below, all optional, in sections. `tfmnist recipes` lists the recipes that come
with the package, `tfmnist recipes mlp` prints one, and `tfmnist recipes my.toml` prints yours with every key, including
those of the recipe that it extends.

```toml
extends = "cnn"                              # the recipe that the keys below change
about.summary = "the cnn, on my pictures"

[data]
source = "my-data"

[optimizer]
kind = "adamw"
learning_rate = 0.003
```

On the command line, each key of a section is an option of `tfmnist train`, such as `--train.epochs 3`; the most used
ones have short forms, in parentheses below. A key that does not exist, a value of the wrong type or out of range, and a
key that is set but has no effect are errors. In Python:

```python
import tfmnist

recipe = tfmnist.Recipe.load("cnn").replace({"train.epochs": 1, "optimizer.learning_rate": 0.003})
run = tfmnist.run(recipe)
```
"""
OWN = """\
`FILE.py:NAME` or `MODULE:NAME` is your own code: a function or class in a file, whose path is relative to the folder of
the recipe (on the command line, to the current folder), or in an installed module. The code decides which options it
takes, and their values; they are the keys of a table, `[model.options]`, `[loss.options]` or `[optimizer.options]`. On
the command line: `--model.options.NAME VALUE`.
"""
SWEEPS = """\
## Sweep files

`tfmnist sweep FILE.toml` trains a recipe many times, with different values of some of its keys, to find the best ones.
Keys of the recipe are in quotes:

```toml
{example}
```
"""


def page() -> str:
    """Returns the page, Markdown."""
    extends = (
        "`extends`",
        "string",
        "",
        "The recipe that this one changes: a shipped one, or a .toml file, relative to this file.",
    )
    parts = [TOP, "### At the top, before the sections\n"]
    name, value, _, meaning = row("name", Recipe)
    parts.append(table(COLUMNS, [extends, (name, value, "", meaning)]))
    parts.append(section("about", About))
    for name, kind in Recipe.tables().items():
        parts += [section(name, kind), *([OWN] if name == "model" else [])]
    example = (sweep_file.__doc__ or "").partition("\n")[2].partition("\nEverything")[0]
    parts.append(SWEEPS.format(example=dedent(example).strip()))
    parts.append(fields("At the top", File))
    parts.append(fields("[space]: for each key, a list of values, or a table", Range, leave_out=("choice",)))
    parts.append(fields("[search]", Search))
    return "\n".join(parts)


def section(name: str, kind: type[Section]) -> str:
    """Returns the table of a recipe's section."""
    rows: list[tuple[str, ...]] = []
    for key in kind.model_fields:
        cells, condition = row(key, kind), condition_of(key, kind)
        if short := SHORT_FORMS.get(f"{name}.{key}"):
            cells = (f"{cells[0]} (`{short}`)", *cells[1:])
        rows.append((*cells[:3], without_prefix(cells[3], condition), condition))
    if any(cells[-1] for cells in rows):
        content = table((*COLUMNS, "has an effect"), rows)
    else:
        content = table(COLUMNS, [cells[:-1] for cells in rows])
    return f"### [{name}]\n\n{(kind.__doc__ or '').strip()}\n\n{content}"


def fields(title: str, kind: type[BaseModel], leave_out: tuple[str, ...] = ()) -> str:
    """Returns the table of a sweep file's table."""
    rows = [row(key, kind) for key in kind.model_fields if key not in leave_out]
    return f"### {title}\n\n{table(COLUMNS, rows)}"


def row(key: str, kind: type[BaseModel]) -> tuple[str, ...]:
    """Returns key, value, default and meaning of a field."""
    field, schema = kind.model_fields[key], kind.model_json_schema()["properties"][key]
    value = one_of([quoted(name) for name in kinds_of(kind)]) if key == "kind" else words(schema)
    default: Any = schema.get("default")
    shown = "" if default is None or default in ("", {}) or "$ref" in schema else quoted(default)
    return f"`{key}`", value, "required" if field.is_required() else shown, prose(field.description or "")


def words(schema: dict[str, Any]) -> str:
    """Returns the type and range of a JSON schema as a person would write them."""
    if "anyOf" in schema:
        parts = [words(part) for part in reversed(schema["anyOf"]) if part.get("type") != "null"]
        return one_of([part for part in parts if part != "integer" or "number" not in parts])
    if "const" in schema or "enum" in schema:
        return one_of([quoted(value) for value in schema.get("enum", [schema.get("const")])])
    match schema.get("type"):
        case "array":
            return re.sub("^(list of )(integer|string)", r"\1\2s", f"list of {words(schema['items'])}")
        case "boolean":
            return "`true` or `false`"
        case "integer" | "number" as kind:
            return f"{kind}{limits(schema)}"
        case "string":
            return "string"
    return "table"


def limits(schema: dict[str, Any]) -> str:
    """Returns the limits of a number, except those of the number format."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = (None if (end := schema.get(key, 1e30)) > 1e15 else end for key in ("maximum", "exclusiveMaximum"))
    if high is None and below is None:
        return f", {low:,} or more" if low is not None else f" above {above:,}" if above is not None else ""
    if schema["type"] == "integer":
        return f", {low:,} to {high:,}"
    left, right = f"({above:,}" if low is None else f"[{low:,}", f"{below:,})" if high is None else f"{high:,.0f}]"
    return f" in {left}, {right}"


def condition_of(key: str, kind: type[Section]) -> str:
    """Returns when a key has an effect, as `Section.idle` says; empty for always."""
    about_kind = f"{kind.__name__.lower()}.kind is"
    idle = {name: kind.model_construct(kind=name).idle().get(key, "") for name in kinds_of(kind)}
    effective = [name for name, reason in idle.items() if not reason.startswith(about_kind)]
    parts = [f"if `kind` is {one_of([quoted(name) for name in effective])}"] if len(effective) < len(idle) else []
    reason = kind().idle().get(key, about_kind)
    if not reason.startswith(about_kind):
        parts.append("unless " + prose(re.sub(r"^([a-z]+[.][a-z_]+)", r"`\1`", reason)))
    return ", ".join(parts)


def kinds_of(kind: type[BaseModel]) -> list[str]:
    """Returns the values of a section's `kind`."""
    if "kind" not in kind.model_fields:
        return []
    schema = kind.model_json_schema()["properties"]["kind"]
    checks = [getattr(part, "func", None) for part in kind.model_fields["kind"].metadata]
    own = [(*check.known, "FILE.py:NAME") for check in checks if isinstance(check, Kinds)]
    return schema["enum"] if not own else list(own[0])


def without_prefix(meaning: str, condition: str) -> str:
    """Returns a meaning without the kinds it begins with, if the condition repeats them."""
    kinds, colon, rest = meaning.partition(": ")
    same = colon and set(re.findall(r"[\w.:]+", kinds)) == set(re.findall('"([^"]+)"', condition))
    return rest[0].upper() + rest[1:] if same else meaning


def prose(text: str) -> str:
    """Returns a text as Markdown, what is in quotes as code."""
    parts = re.split(r"(`[^`]+`)", re.sub(r"(?<!\w)'([^']+)'(?!\w)", r"`\1`", text))
    return "".join(part if part.startswith("`") else re.sub(r"([<*])", r"\\\1", part) for part in parts)


def one_of(values: list[str]) -> str:
    """Returns alternatives in words."""
    return " or ".join(part for part in (", ".join(values[:-1]), values[-1]) if part)


def quoted(value: Any) -> str:
    """Returns a value as TOML and JSON write it, as code."""
    return f"`{json.dumps(value)}`"


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Returns a Markdown table."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
