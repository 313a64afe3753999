"""The command line ``nostro``."""

from tools.cli.application import main

__all__ = ["main"]
