"""Benchmark: from records to forget, retain and test, with every injected fact on the ledger."""
