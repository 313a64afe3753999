"""The first step of ``nostro``, which imports little: Ctrl-C has an effect from here on."""

from __future__ import annotations

from importlib import import_module
from typing import NoReturn

from nostro.tools.cli.terminal.interruption import end_at_once, ignore


def main() -> NoReturn:
    """Run the command line."""
    end_at_once()
    try:
        import_module("nostro.tools.cli.application").main()
    finally:
        ignore()  # the command is done, and Python cannot be interrupted cleanly while it ends
    raise AssertionError("the command line has not ended the process")
