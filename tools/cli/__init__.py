"""The command line ``nostro``."""

from nostro.tools.cli.start import main

__all__ = ["main"]
