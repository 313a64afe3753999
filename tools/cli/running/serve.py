"""``nostro serve``: a ledger over HTTP."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import logging
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from nostro.journal.storage.directory import Directory, require_ledger
from nostro.projections.deciding.timestamps import CLOCK_LEAD_SECONDS_MAX
from nostro.projections.ledger.mirroring import backend, cluster_from_environment
from nostro.tools.cli.evidence import files as evidence
from nostro.tools.cli.terminal import parameters, screen
from nostro.tools.cli.terminal.failures import WRONG_USE, CommandFailed
from nostro.tools.cli.terminal.help_examples import DocumentedCommand

if TYPE_CHECKING:
    from nostro.projections import AsyncLedger

_PACKAGES: Final = ("starlette", "uvicorn", "prometheus_client")
_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def allowed_host(text: str) -> str:
    """Parse a host name or an address, without a port; return it as a Host header has it."""
    if re.fullmatch(r"[A-Za-z0-9._-]+", text):
        return text
    try:
        return f"[{ipaddress.IPv6Address(text.removeprefix('[').removesuffix(']'))}]"
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a host name without a port") from None


@click.command(
    cls=DocumentedCommand,
    short_help="Serve the ledger over HTTP.",
    examples=(
        "nostro serve books",
        "nostro serve books --port 0 --json",
        "nostro serve books --host 0.0.0.0 --keys ~/nostro-serve.toml",
        "nostro serve books --allowed-host ledger.example",
    ),
)
@parameters.directory
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8080,
    show_default=True,
    help="The port to listen on; 0 chooses a free port.",
)
@click.option(
    "--keys",
    "keys_file",
    type=evidence.FILE,
    metavar="FILE",
    help="Answer only requests with a key from FILE; docs/guides/server.md shows how to make one.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    type=allowed_host,
    multiple=True,
    metavar="NAME",
    help="Also answer requests with NAME in the Host header, for example from a proxy. You can give"
    " this option several times.",
)
@click.option(
    "--clock-lead",
    type=click.FloatRange(0),
    default=CLOCK_LEAD_SECONDS_MAX,
    show_default=True,
    metavar="SECONDS",
    help="Refuse to write while the newest event is further ahead of the clock.",
)
@click.option("--access-log", is_flag=True, help="Write a line to standard error for each request.")
@parameters.as_json
def serve(
    directory: Path,
    *,
    host: str,
    port: int,
    keys_file: Path | None,
    allowed_hosts: tuple[str, ...],
    clock_lead: float,
    access_log: bool,
    as_json: bool,
) -> None:
    """Serve the ledger in DIR over HTTP until Ctrl-C or SIGTERM. Both lose nothing.

    Requests are those of TigerBeetle's client, in JSON; /openapi.json describes them. Without
    --keys only this machine can connect, and every client may do everything. If
    TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS are set, the server mirrors the ledger.
    --json writes one line of JSON when the server is ready.
    """
    _require_packages()
    require_ledger(Directory(directory))
    from nostro.tools.server import keys, running  # noqa: PLC0415  # only with the extra

    known = None if keys_file is None else keys.read_keys(keys_file)
    cluster = cluster_from_environment()
    logging.basicConfig(level=logging.WARNING, format=_LOG_FORMAT)
    if access_log:
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    with _listen(host, port) as listening:
        if known is None and not running.is_loopback(listening):
            raise CommandFailed(
                f"other machines can reach {host}, so the server needs keys",
                code=WRONG_USE,
                hint="use --keys FILE; docs/guides/server.md shows how to make one",
            )

        def ready(ledger: AsyncLedger) -> None:
            text, url = backend(directory, cluster), running.url(listening)
            if as_json:
                screen.json_line({"backend": text, "url": url, "position": ledger.position})
            else:
                screen.line(f"Accounting backend: {text}")
                screen.line(f"Listening on {url}")

        asyncio.run(
            running.serve(
                directory, listening, running.access_to(listening, host, known, allowed_hosts),
                mirror=cluster, clock_lead_seconds_max=clock_lead, access_log=access_log,
                ready=ready,
            )
        )  # fmt: skip


def _require_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandFailed(
            f"`nostro serve` needs packages that are not installed: {', '.join(missing)}",
            code=WRONG_USE,
            hint="pip install 'nostro[server]'",
        )


def _listen(host: str, port: int) -> socket.socket:
    from nostro.tools.server import running  # noqa: PLC0415 - an extra that most do without

    try:
        return running.listen(host, port)
    except (OSError, UnicodeError) as error:  # UnicodeError: not a host name
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandFailed(
            f"cannot listen on {host}, port {port}: {reason}",
            code=WRONG_USE,
            hint="nothing was changed; --port 0 chooses a free port",
        ) from None
