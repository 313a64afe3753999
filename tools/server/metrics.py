"""Metrics for Prometheus: requests, events, the ledger, and its mirror if it has one."""

from __future__ import annotations

import importlib.metadata
from collections import Counter as Tally
from enum import IntEnum
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry

from nostro.projections import AsyncLedger
from nostro.projections.tigerbeetle.mirror.health import metrics as mirror_metrics
from nostro.tools.server.wire import Results

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED: Final = ""
"""The route label of a request whose path does not exist."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """Counts since the server started. Each object has its own registry."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "nostro_http_requests", "Requests answered.",
            ["method", "route", "status"], registry=registry,
        )  # fmt: skip
        self._seconds = prometheus_client.Histogram(
            "nostro_http_request_seconds", "Time from a request's head to its answer.",
            ["method", "route"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._events = prometheus_client.Counter(
            "nostro_events", "Accounts and transfers answered, by status.",
            ["kind", "status"], registry=registry,
        )  # fmt: skip
        self._gauges = {
            name: prometheus_client.Gauge(f"nostro_{name}", help_, registry=registry)
            for name, help_ in (
                ("position", "The last durable event."),
                ("accounts", "Accounts in the ledger."),
                ("transfers", "Transfers that took effect."),
                ("writable", "1 if the ledger accepts writes, else 0."),
            )
        }
        prometheus_client.Info("nostro_build", "The version of nostro.", registry=registry).info(
            {"version": importlib.metadata.version("nostro")}
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. ``route`` is the template of its path, which keeps labels few."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def created(self, kind: str, statuses: type[IntEnum], results: Results) -> None:
        """Count the results of a request that creates: ``CREATE_RESULT[n]``."""
        for status, count in Tally(results["status"].tolist()).items():
            self._events.labels(kind, statuses(status).name).inc(count)

    def text(self, ledger: AsyncLedger, *, is_writable: bool) -> str:
        """Everything, in the Prometheus text format. It may wait for the disk."""
        for name, value in (
            ("position", ledger.position),
            ("accounts", ledger.account_count),
            ("transfers", ledger.transfer_count),
            ("writable", is_writable),
        ):
            self._gauges[name].set(value)
        text = prometheus_client.generate_latest(self._registry).decode()
        health = ledger.mirror.health() if ledger.mirror is not None else None
        return text if health is None else text + mirror_metrics(health)
