"""All SQL of the worker. Nothing in here commits: the transaction belongs to the caller."""
