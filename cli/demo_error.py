"""Apart from the client, whose libraries a mere `up` need not load."""


class DemoError(Exception):
    """The API answered with something that the demo cannot go on with."""
