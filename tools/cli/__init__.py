"""The command line ``nostro``."""

from nostro.tools.cli.application import main

__all__ = ["main"]
