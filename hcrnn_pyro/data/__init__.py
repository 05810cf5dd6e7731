"""Data: sources, splits, audits and ragged batches."""
