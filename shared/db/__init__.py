"""How it is kept: engine, transaction edge, applied offsets, and the tables that every service schema repeats."""
