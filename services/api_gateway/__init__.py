"""The thin edge: checks who asks and what, publishes facts, keeps master data, reads what the workers wrote."""
