"""One seed: a journal that grows, a mirror that is killed, a network that fails; and the end."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import traceback
from pathlib import Path
from random import Random
from typing import Final

import attrs

from nostro.journal.storage.watch import HeadWatcher
from nostro.projections.tigerbeetle.errors import OutOfOrder
from nostro.projections.tigerbeetle.mirror.health import MirrorState
from nostro.projections.tigerbeetle.mirror.mirror import Intervals, Mirror
from nostro.projections.tigerbeetle.session.breaker import Breaker
from tests.crash.recording import alike
from tests.storages import ObservedStorage, Operation
from tests.tigerbeetle.journals import SECOND, Expected, Scene, expected
from tests.tigerbeetle.simulated import CONFIGURATION, FaultySession, Network, SimulatedCluster

REQUESTS: Final = 14
FAILURES_MAX: Final = 40
"""After so many the network is calm, so that a trial ends."""


class Killed(BaseException):
    """The mirror's process is gone."""


@attrs.define
class Figures:
    seeds: int = 0
    lives: int = 0
    faults: int = 0
    out_of_order: int = 0
    transfers: int = 0

    def add(self, other: Figures) -> None:
        for field in attrs.fields(Figures):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class Life:
    """Ends at a step chosen beforehand: from then on nothing is done any more."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Killed


class MortalStorage(ObservedStorage):
    def __init__(self, life: Life) -> None:
        super().__init__()
        self._life = life

    def before(self, operation: Operation) -> None:
        if operation.name != "close":  # which a killed process's descriptors are, too
            self._life.step()


class Impatient(Breaker):
    """Waits for nothing; what happens meanwhile happens at once."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(Random(1))
        self._trial = trial

    def failed(self) -> float:
        super().failed()
        self._trial.failed()
        return 0.0


class Trial:
    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = chance = Random(seed)
        self.scene = Scene(folder / "ledger", Random(-seed))
        self.requests = 0
        self.failures = 0
        self.behind = 0
        """How far the cluster's clock is behind the ledger's, ns."""
        count_max = chance.choice((3, 8, 30, 8_189))
        self.configuration = attrs.evolve(
            CONFIGURATION,
            batch_events_max=count_max,
            batches_in_flight_max=chance.choice((1, 2, 3)),
        )
        self.cluster = SimulatedCluster(
            lambda: self.scene.clock.now + SECOND - self.behind, count_max
        )
        self.network = Network(self.cluster, chance, chance.choice((0.0, 0.1, 0.25, 0.5)))
        self.stop = threading.Event()
        self.copies: list[Path] = []
        self.figures = Figures(seeds=1)

    def run(self) -> Figures:
        """Lives one after the other, until the cluster has everything; then look at it.

        Raises:
            AssertionError: it does not hold what it must.
        """
        out_of_order: OutOfOrder | None = None
        while not self.stop.is_set() and out_of_order is None:
            self.figures.lives += 1
            life = Life(self.chance.choice((10, 100, 300, 1_000, 10_000)))
            try:
                with contextlib.suppress(Killed):
                    self.live(life)
            except OutOfOrder as error:
                out_of_order = error
            self.lose_cursor()
        self.network.calm()
        self.behind = 0
        self.check(out_of_order)
        self.scene.close()
        self.figures.faults = len(self.network.told)
        self.figures.transfers = len(self.cluster.transfers)
        return self.figures

    def live(self, life: Life) -> None:
        storage = MortalStorage(life)

        def connect() -> FaultySession:
            life.step()
            return self.network.connect()

        trial = self

        class Watcher(HeadWatcher):
            """Time passes while the mirror waits for the journal to grow."""

            def __init__(self, _: Path, *, stop: threading.Event) -> None:
                pass

            def wait(self) -> None:
                life.step()
                trial.pass_time()
                if trial.requests > REQUESTS and mirror.health().lag_events == 0:
                    trial.stop.set()

            def close(self) -> None:
                pass

        seconds = self.chance.choice((0.0, 1e12))
        mirror = Mirror(
            self.scene.path,
            self.configuration,
            connect=connect,
            storage=storage,
            breaker=Impatient(self),
            clock=self.scene.clock,
            watcher=Watcher,
            intervals=Intervals(seconds, seconds, seconds),
        )
        try:
            mirror.run(self.stop)
            assert mirror.health().state is MirrorState.STOPPED
        finally:
            with contextlib.suppress(Killed):
                mirror.close()

    def pass_time(self) -> None:
        if self.chance.random() < 0.1:
            self.behind = self.chance.choice((0, SECOND, 2 * SECOND, 7 * SECOND))
        for _ in range(self.chance.choice((1, 1, 10))):  # a few at a time, or much to catch up with
            if self.requests <= REQUESTS:
                self.requests += 1
                self.scene.request()

    def failed(self) -> None:
        self.failures += 1
        if self.chance.random() < 0.5:
            self.pass_time()
        if self.failures > FAILURES_MAX:
            self.network.rate = 0.0
        if self.failures > FAILURES_MAX or self.chance.random() < 0.2:
            self.behind = 0
        assert self.failures < 10 * FAILURES_MAX

    def lose_cursor(self) -> None:
        """Between two lives: the cursor is there, or is not, or is an old one."""
        folder = self.scene.path / "checkpoints"
        found = [path for path in folder.iterdir() if path.name.startswith("tigerbeetle_")]
        if found and self.chance.random() < 0.2:
            copy = self.scene.path.parent / f"copy-{len(self.copies)}-{found[0].name}"
            shutil.copyfile(found[0], copy)
            self.copies.append(copy)
        if self.chance.random() < 0.3:
            for path in found:
                path.unlink()
            if self.copies and self.chance.random() < 0.5:
                copy = self.chance.choice(self.copies)
                target = folder / copy.name.split("-", 2)[2]
                shutil.copyfile(copy, target)
                target.chmod(0o600)

    def check(self, out_of_order: OutOfOrder | None) -> None:
        count_max = self.configuration.batch_events_max
        wanted = expected(self.scene.ledger, batch_events_max=count_max)
        if out_of_order is not None:
            self.figures.out_of_order = 1
            self.check_stopped(out_of_order, wanted)
            return
        assert wanted.out_of_order is None
        with Mirror(self.scene.path, self.configuration, connect=self.cluster.connect) as mirror:
            mirror.catch_up()  # what expired just now
        assert self.cluster.accounts == wanted.accounts
        assert self.cluster.transfers == wanted.transfers

    def check_stopped(self, error: OutOfOrder, wanted: Expected) -> None:
        """At what no cluster takes; it holds all before it, and nothing that comes after."""
        assert error.id == wanted.out_of_order
        before = [transfer.id for transfer in wanted.transfers].index(error.id)
        assert self.cluster.transfers == wanted.transfers[:before]
        accounts = self.cluster.accounts
        created = [(account.id, account.timestamp) for account in wanted.accounts]
        assert [(account.id, account.timestamp) for account in accounts] == created[: len(accounts)]


def try_seeds(folder: Path, seeds: range) -> Figures:
    """Raises AssertionError, which says how to see it again."""
    logging.getLogger("nostro").setLevel(logging.ERROR)
    figures = Figures()
    for seed in seeds:
        path = folder / str(seed)
        path.mkdir()
        try:
            with alike(str(seed)):
                figures.add(Trial(path, seed).run())
        except Exception:  # noqa: BLE001 - it is told in words: not each kind can be sent on
            raise AssertionError(
                f"{traceback.format_exc()}\nreplay: NOSTRO_SEED={seed} NOSTRO_SEEDS=1"
                " python -m pytest tests/tigerbeetle/test_mirror_faults.py"
            ) from None
        shutil.rmtree(path)
    return figures
