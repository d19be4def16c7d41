"""All SQL of the gateway. Functions take a connection inside a transaction and never commit."""
