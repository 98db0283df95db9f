"""The failures that a verb itself finds, each with the exit code that it means."""


class VerbError(Exception):
    """A verb could not do what was asked; the text is one sentence for a person, or more."""

    exit_code = 1


class UsageError(VerbError):
    """What was asked for makes no sense, whatever the world looks like."""

    exit_code = 2


class UnreachableError(VerbError):
    """Kafka or PostgreSQL could not be reached."""

    exit_code = 3
