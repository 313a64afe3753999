"""An embedded ledger gets a mirror, loses its cluster, goes on, and ends without a difference.

    python docs/guides/mirror_demo.py FOLDER

FOLDER must not exist. The server `tigerbeetle` must be on the PATH or named by TIGERBEETLE_BINARY.
"""

import json, subprocess, sys, time
from pathlib import Path

from nostro import Account, Ledger, Transfer, id
from nostro.projections.tigerbeetle.configuration import ClusterConfiguration


def nostro(*arguments):
    command = [sys.executable, "-m", "nostro", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def pay(ledger, count):
    for _ in range(count):
        ledger.create_transfers(
            [Transfer(id=id(), debit_account_id=1, credit_account_id=2, amount=7, ledger=1, code=1)]
        )


def wait(ledger, what, fits):
    while (health := ledger.mirror.health()) is None or not fits(health):
        time.sleep(0.1)
    said = "connected" if health.connected else health.last_error
    print(f"{what}: {health.state}, {health.lag_events:,} events behind; {said}")


folder = Path(sys.argv[1])
folder.mkdir()
books, cluster = folder / "books", folder / "cluster"

# A ledger with a history, and no cluster in sight.
with Ledger.open(books) as ledger:
    ledger.create_accounts([Account(id=number, ledger=1, code=1) for number in (1, 2)])
    pay(ledger, 1_000)
print("history: 1,000 transfers")

# A cluster is brought up and configured: it catches up.
up = json.loads(nostro("cluster", "up", cluster, "--development", "--json"))
configuration = ClusterConfiguration(
    int(up["cluster_id"]), tuple(up["addresses"]), timeout_seconds=2, batch_events_max=250
)
with Ledger.open(books, mirror=configuration) as ledger:
    wait(ledger, "caught up", lambda health: health.is_healthy and not health.lag_events)

    # The cluster goes away: the ledger goes on.
    nostro("cluster", "down", cluster)
    pay(ledger, 1_000)
    wait(ledger, "cluster gone", lambda health: not health.connected)
    print(f"ledger: account 2 has {ledger.lookup_accounts([2])[0].credits_posted:,}")

    # It comes back, and gets the rest.
    nostro("cluster", "up", cluster)
    wait(ledger, "cluster back", lambda health: health.is_healthy and not health.lag_events)

names = ["--cluster-id", configuration.cluster_id, "--replicas", ",".join(configuration.replicas)]
print(nostro("reconcile", books, *names, "--batch-events", 250), end="")
nostro("cluster", "down", cluster)
