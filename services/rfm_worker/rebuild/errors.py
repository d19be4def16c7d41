"""Why a rebuild stops; the tables are then what they were."""


class RebuildError(Exception):
    """The text says what to do. Nothing has changed."""


class NoSuchTenantError(RebuildError):
    """There is nothing to rebuild: no tenant has this id."""
