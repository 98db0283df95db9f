"""What keeps a measurement from coming to its end."""

from ops.cli.failure import VerbError


class BenchError(VerbError):
    """The measurement could not be made; the text says why, with the end of a process's log."""
