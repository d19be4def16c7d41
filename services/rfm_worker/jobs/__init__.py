"""The second process of the rfm worker: heavy jobs that return every night, away from the batches and their latency."""
