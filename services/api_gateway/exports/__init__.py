"""Exports: how rows become a file (CSV, NDJSON, Parquet), and how a file leaves while it is being made."""
