"""The command line of the product: starts everything on one machine, looks after it, tests and measures it."""
