"""Seals: the SHA-256 of a text file in a line of its own, which reveals that the file was changed or cut short.

A TOML file has it in its first line, as a comment; a JSON object as its first key. Files without one are not checked:
earlier versions wrote none.
"""

import hashlib
import re

_SEAL = re.compile(rb'(\{\n  "sha256": "|# sha256 )([0-9a-f]{64})(?:",)?\n')


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
        if hashlib.sha256(text).hexdigest().encode() != found[2]:
            raise ValueError("changed after it was written, as its SHA-256 shows")
    return text.decode()
