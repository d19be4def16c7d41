"""Ledger of sales, and who the customers are: recency, frequency, monetary, scores, segments, profiles."""
