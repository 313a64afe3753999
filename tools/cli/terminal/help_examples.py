"""The kind of all commands: its help ends with examples, and Ctrl-C ends its body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from nostro.tools.cli.terminal.interruption import body


class DocumentedCommand(click.Command):
    """A click command with ``examples``: command lines, without the leading prompt."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        with body():
            return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


class DocumentedGroup(DocumentedCommand, click.Group):
    """A group of commands whose help ends with examples."""


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """Write the section "Examples"; nothing when there are none."""
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':{formatter.current_indent}}{example}\n")
