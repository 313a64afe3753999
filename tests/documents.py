"""The programs that the documents show, run as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE_PATH: Final = str(ROOT / "src")
"""Where a process that a test starts finds this checkout's package."""
_BLOCK: Final = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: str) -> Iterator[tuple[str, str]]:
    """(language, text) of each fenced block, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return ((match["language"], match["text"]) for match in _BLOCK.finditer(text))


def run_python(
    document: str,
    capsys: pytest.CaptureFixture[str],
    replaced: dict[str, str] | None = None,
) -> list[str]:
    """Run the document's Python as one program; return what each block printed.

    A block of text after a block of Python is what that one must print.

    Args:
        replaced: blocks that are run in another form.
    """
    namespace: dict[str, Any] = {}
    printed: list[str] = []
    for language, text in blocks(document):
        if language == "python":
            program = (replaced or {}).get(text, text)
            exec(compile(program, document, "exec"), namespace)  # noqa: S102 - our own examples
            printed.append(capsys.readouterr().out)
        elif language == "text":
            assert printed[-1] == text, f"{document} printed {printed[-1]}"
    return printed
