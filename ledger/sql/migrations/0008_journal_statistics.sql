-- Autovacuum gathers the journal's statistics whenever a tenth has been added: half a second of processor a million rows, most
-- of it for columns by which nothing is searched or grouped, and batches on two cores waited for it. With these an eighth.
-- depends: 0007_journal_ranges

ALTER TABLE transactions
    ALTER reason SET STATISTICS 0, ALTER detail SET STATISTICS 0, ALTER fingerprint SET STATISTICS 0,
    ALTER amount SET STATISTICS 0, ALTER balance_before SET STATISTICS 0, ALTER balance_after SET STATISTICS 0,
    ALTER held_after SET STATISTICS 0, ALTER escrow_after SET STATISTICS 0, ALTER peer_balance_after SET STATISTICS 0,
    ALTER reference SET STATISTICS 0, ALTER description SET STATISTICS 0, ALTER metadata SET STATISTICS 0,
    ALTER order_state SET STATISTICS 0, ALTER source_offset SET STATISTICS 0, ALTER upstream_occurred_at SET STATISTICS 0,
    ALTER client_id SET STATISTICS 20, ALTER command_id SET STATISTICS 20, ALTER merchant_id SET STATISTICS 20,
    ALTER id SET STATISTICS 20, ALTER type SET STATISTICS 20, ALTER status SET STATISTICS 20,
    ALTER currency SET STATISTICS 20, ALTER debit_kind SET STATISTICS 20, ALTER credit_kind SET STATISTICS 20,
    ALTER counterparty SET STATISTICS 20, ALTER hold_id SET STATISTICS 20, ALTER order_id SET STATISTICS 20,
    ALTER original_command_id SET STATISTICS 20, ALTER source_topic SET STATISTICS 20,
    ALTER source_partition SET STATISTICS 20, ALTER created_at SET STATISTICS 20;
