"""How it is seen: structured logs, one catalogue of metrics, health by progress."""
