"""The ``nostro`` command itself: its sub-commands by section, and one way out for every failure.

A command is one line in :data:`COMMANDS`; its module is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import attrs
import click

from nostro.tools.cli.terminal import streams
from nostro.tools.cli.terminal.failures import CommandFailed, report_failure
from nostro.tools.cli.terminal.help_examples import write_examples
from nostro.tools.cli.terminal.interruption import INTERRUPTED, CommandInterrupted, exit_code
from nostro.tools.nearest_name import nearest

EXAMPLES: Final = (
    "nostro init books",
    "nostro import books payments.csv --mapping payments.toml",
    "nostro accounts books",
)


@attrs.frozen
class Entry:
    """Where a command lives: ``module:attribute``, and the section of the help it stands in."""

    target: str
    section: str


COMMANDS: Final[dict[str, Entry]] = {
    "demo": Entry("nostro.tools.cli.running.demo:demo", "Begin"),
    "init": Entry("nostro.tools.cli.books.init:init", "Begin"),
    "import": Entry("nostro.tools.cli.import_export.import_file:import_file", "Write"),
    "checkpoint": Entry("nostro.tools.cli.books.checkpoint:checkpoint", "Write"),
    "serve": Entry("nostro.tools.cli.running.serve:serve", "Write"),
    "accounts": Entry("nostro.tools.cli.books.accounts:accounts", "Read"),
    "balance": Entry("nostro.tools.cli.books.balance:balance", "Read"),
    "statement": Entry("nostro.tools.cli.books.statement:statement", "Read"),
    "log": Entry("nostro.tools.cli.books.log:log", "Read"),
    "replay": Entry("nostro.tools.cli.books.replay:replay", "Check"),
    "verify": Entry("nostro.tools.cli.upkeep.verify:verify", "Check"),
    "root": Entry("nostro.tools.cli.evidence.root:root", "Check"),
    "prove": Entry("nostro.tools.cli.evidence.prove:prove", "Check"),
    "verify-proof": Entry("nostro.tools.cli.evidence.verify_proof:verify_proof", "Check"),
    "key": Entry("nostro.tools.cli.evidence.key:key", "Check"),
    "backup": Entry("nostro.tools.cli.upkeep.backup:backup", "Keep"),
    "restore": Entry("nostro.tools.cli.upkeep.restore:restore", "Keep"),
    "export": Entry("nostro.tools.cli.import_export.export:export", "Keep"),
    "repair": Entry("nostro.tools.cli.upkeep.repair:repair", "Keep"),
    "mirror": Entry("nostro.tools.cli.clusters.mirror:mirror", "Cluster"),
    "cluster": Entry("nostro.tools.cli.clusters.cluster:cluster", "Cluster"),
    "reconcile": Entry("nostro.tools.cli.clusters.reconcile:reconcile_command", "Cluster"),
    "import-cluster": Entry(
        "nostro.tools.cli.import_export.import_cluster:import_cluster", "Cluster"
    ),
    "bench": Entry("nostro.tools.cli.running.bench:bench", "Check"),
}

END_WITH_READER: Final = {"accounts", "balance", "statement", "log", "export"}
"""They only show events. Without a reader they stop, with exit code 0."""


class Application(click.Group):
    """Loads commands on demand, groups them in the help, and turns exceptions into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"there is no command {args[0]!r}{nearest(args[0], COMMANDS)}")
        found = super().resolve_command(ctx, args)
        if found[0] is not None:
            streams.set_ends_with_reader(found[0] in END_WITH_READER)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            rows = []
            for name, entry in COMMANDS.items():
                command = self.get_command(ctx, name) if entry.section == section else None
                if command is not None:
                    rows.append((name, command.get_short_help_str(limit=60)))
            with formatter.section(section):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(EXAMPLES, formatter)
        super().format_epilog(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        result = super().invoke(ctx)
        sys.stdout.flush()  # a closed pipe shows here, not in the interpreter's last breath
        return result

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        **extra: Any,  # noqa: ANN401 - click's own
    ) -> NoReturn:
        extra["standalone_mode"] = False
        extra["prog_name"] = "nostro"
        try:
            code = super().main(args=list(args) if args is not None else None, **extra)
        except streams.ReaderGone:
            sys.exit(0)  # it has seen enough
        except CommandInterrupted as error:
            click.echo(f"nostro: {error}", err=True)
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):  # between two steps of click
            click.echo(f"nostro: {INTERRUPTED}", err=True)
            sys.exit(exit_code(signal.SIGINT))
        except Exception as error:  # noqa: BLE001 - told, or raised again when it is our bug
            sys.exit(report_failure(error))
        sys.exit(code if isinstance(code, int) else 0)


@click.command(
    cls=Application,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="nostro", message="%(prog)s %(version)s")
@click.pass_context
def application(context: click.Context) -> None:
    """A durable double-entry ledger: an append-only journal, and everything else follows from it.

    DIR is always the ledger's directory. Times are RFC 3339 (2024-05-01T12:00:00Z), bare dates
    (2024-05-01, UTC) or integer nanoseconds. Exit codes: 0 good, 1 a check failed or the work is
    not complete, 2 wrong use, 3 damaged data, 130 interrupted by Ctrl-C.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Run the command line; never returns."""
    try:
        streams.take_over()
    except CommandFailed as error:
        sys.exit(report_failure(error))
    application.main()
