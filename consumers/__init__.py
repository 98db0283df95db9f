"""A topic's records, applied batch by batch in one ledger transaction each."""
