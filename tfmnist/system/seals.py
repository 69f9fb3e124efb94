"""Seals: the SHA-256 of a text file in a line of its own, which reveals that the file was changed or cut short.

A TOML file has it in its first line, as a comment; a JSON object as its first key. Files without one are not checked:
earlier versions wrote none.
"""

import hashlib
import re

_SEAL = re.compile(rb'\{\n  "([^"\n]*)": "([^"\n]{64})",\n|# (sha256) ([^\n]*)(?:\n|\Z)')  # whole lines, even damaged


def seal(text: str) -> str:
    """Returns a TOML text, or a JSON object with indented lines, with its seal."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{\n  "sha256": "{digest}",\n{text[2:]}' if text.startswith("{\n") else f"# sha256 {digest}\n{text}"


def unseal(content: bytes) -> str:
    """Returns the text of a file without its seal.

    Raises:
        ValueError: it is not what was sealed, or not UTF-8.
    """
    text = content
    if found := _SEAL.match(content):
        text = (b"{\n" if content.startswith(b"{") else b"") + content[found.end() :]
        written = (found[1] or found[3], found[2] or found[4])
        if written != (b"sha256", hashlib.sha256(text).hexdigest().encode()):
            raise ValueError("changed after it was written, as its SHA-256 shows")
    return text.decode()
