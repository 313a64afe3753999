"""The demonstration's payments: one day in a small town, the same for the same seed and day."""

from __future__ import annotations

from typing import Final

import attrs
import numpy as np

from nostro.journal import ACCOUNT, TRANSFER, AccountFlags, Rows, TransferFlags

LEDGER: Final = 978  # ISO 4217: euro, in cents
BANK: Final = 1
SHOP_FIRST: Final = 100
SHOPS: Final = 50
WALLET_FIRST: Final = 1_000
WALLETS: Final = 2_000
WALLET_CODE: Final = 10
SHOP_CODE: Final = 20
BANK_CODE: Final = 30
OPENING_BALANCE: Final = 500_000
HOUR_NS: Final = 3_600 * 10**9
DAY_NS: Final = 24 * HOUR_NS

_OPENS_NS: Final = 7 * HOUR_NS
_CLOSES_NS: Final = 22 * HOUR_NS


@attrs.frozen(eq=False)
class World:
    """Accounts and payments, in order of time.

    ``accounts`` is ``ACCOUNT[n]``; ``transfers`` is ``TRANSFER[WALLETS + payments]``: first every
    wallet's opening deposit, then the day's payments. All are imported: they carry their time.
    """

    midnight_ns: int
    accounts: Rows
    transfers: Rows

    def balance_at(self, account_id: int, timestamp: int) -> int:
        """Credits less debits up to ``timestamp``, added up without any ledger."""
        rows = self.transfers[self.transfers["timestamp"] <= timestamp]
        amounts = rows["amount"][:, 0].astype(np.int64)
        credits = amounts[rows["credit_account_id"][:, 0] == account_id].sum()
        return int(credits - amounts[rows["debit_account_id"][:, 0] == account_id].sum())


def make_world(*, payments: int, midnight_ns: int, seed: int) -> World:
    """The day that begins at ``midnight_ns`` (ns since the epoch) with so many payments."""
    random = np.random.default_rng(seed)
    accounts = _accounts(midnight_ns)
    transfers = np.zeros(WALLETS + payments, TRANSFER)
    wallets = np.arange(WALLET_FIRST, WALLET_FIRST + WALLETS, dtype=np.uint64)
    deposits, paid = transfers[:WALLETS], transfers[WALLETS:]
    deposits["debit_account_id"][:, 0] = BANK
    deposits["credit_account_id"][:, 0] = wallets
    deposits["amount"][:, 0] = OPENING_BALANCE
    deposits["timestamp"] = midnight_ns + HOUR_NS + np.arange(WALLETS, dtype=np.uint64)
    paid["debit_account_id"][:, 0] = random.choice(wallets, payments)
    paid["credit_account_id"][:, 0] = SHOP_FIRST + random.zipf(1.4, payments) % SHOPS
    paid["amount"][:, 0] = np.clip(random.lognormal(6.2, 0.8, payments), 50, 20_000)
    paid["timestamp"] = midnight_ns + _times_of_day(random, payments)
    transfers["id"][:, 1] = transfers["timestamp"] // 10**6 << 16
    transfers["id"][:, 0] = np.arange(1, len(transfers) + 1)
    transfers["ledger"] = LEDGER
    transfers["code"] = WALLET_CODE
    transfers["flags"] = TransferFlags.IMPORTED
    return World(midnight_ns, accounts, transfers)


def _accounts(midnight_ns: int) -> Rows:
    ids = [BANK, *range(SHOP_FIRST, SHOP_FIRST + SHOPS)]
    ids += range(WALLET_FIRST, WALLET_FIRST + WALLETS)
    accounts = np.zeros(len(ids), ACCOUNT)
    accounts["id"][:, 0] = ids
    accounts["ledger"] = LEDGER
    accounts["code"] = WALLET_CODE
    accounts["code"][: SHOPS + 1] = SHOP_CODE
    accounts["code"][0] = BANK_CODE
    accounts["flags"] = AccountFlags.IMPORTED
    accounts["timestamp"] = midnight_ns + 1 + np.arange(len(ids), dtype=np.uint64)
    return accounts


def _times_of_day(random: np.random.Generator, count: int) -> np.ndarray:
    """Strictly increasing ns after midnight, busiest around noon and in the early evening."""
    hours = np.concatenate(
        (random.normal(12.5, 1.6, count // 2), random.normal(18.0, 1.8, count - count // 2))
    )
    times = np.sort(np.clip((hours * HOUR_NS).astype(np.uint64), _OPENS_NS, _CLOSES_NS))
    return times + np.arange(count, dtype=np.uint64)
