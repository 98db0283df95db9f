"""The book of a batch: what it makes, keeps and shows."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

from ledger.book import Book, Wallet

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_wallet_that_moves_counts_its_version_and_says_that_it_changed() -> None:
    wallet = Wallet("alice", "USD", 10, version=4, place="(0,1)")
    wallet.move(-3, _NOW)
    assert wallet == Wallet("alice", "USD", 7, None, "open", 5, _NOW, place="(0,1)", changed=True)


def test_an_opened_wallet_is_empty_and_makes_its_client_where_there_is_none() -> None:
    book = Book(_NOW, itertools.count(1))
    wallet = book.open_wallet("alice", "EUR")
    assert book.wallet("alice", "EUR") is wallet
    assert (wallet.available, wallet.version, wallet.place, wallet.changed) == (0, 1, None, True)
    assert not book.clients["alice"].registered
    book.open_wallet("alice", "USD")
    assert sorted(book.wallets["alice"]) == ["EUR", "USD"]


def test_there_is_no_wallet_of_no_currency() -> None:
    book = Book(_NOW, itertools.count(1))
    book.open_wallet("alice", "EUR")
    assert book.wallet("alice", None) is None
    assert book.wallet("alice", "USD") is None
    assert book.wallet("bob", "EUR") is None
