"""docs/configuration.md, from the settings themselves: `python -m ops.configuration > FILE`."""

import sys
from pathlib import Path

from pydantic_core import PydanticUndefined

from schemas.settings import SECRETS, VARIABLES, Settings

_HEAD = """\
# Configuration

Every setting is an environment variable, read once at start; all mistakes are reported at once,
with secrets masked. An empty variable counts as unset, and an unknown `WALLET_*` variable is a
mistake. What has a † may come from a file instead, named by the same variable with `_FILE` behind
it. libpq's own `PG*` variables count where `DATABASE_URL` is not set.

`--data-dir FOLDER` and `--debug`, with any verb, are other spellings of `WALLET_DATA_DIR` and
`WALLET_DEBUG=true`.

<!-- Generated from schemas/settings.py by `python -m ops.configuration`; a test compares. -->
"""
_GROUPS = (
    ("Kafka", lambda variable: variable.startswith("KAFKA_")),
    ("PostgreSQL", lambda variable: variable.endswith("DATABASE_URL")),
    (
        "Orders",
        lambda variable: variable.startswith(
            ("FULFILLMENT_", "WALLET_FULFILLMENT_", "WALLET_BREAKER_", "WALLET_ORDER_")
        ),
    ),
    ("The wallet's own", lambda variable: variable.startswith("WALLET_")),
    ("Others", lambda _variable: True),
)


def page() -> str:
    """The page as it should be: a table for each group, in the order of the settings."""
    left = list(VARIABLES)
    parts = [_HEAD]
    for title, belongs in _GROUPS:
        variables = [variable for variable in left if belongs(variable)]
        left = [variable for variable in left if variable not in variables]
        if variables:
            rows = "\n".join(map(_row, variables))
            parts.append(
                f"\n## {title}\n\n| variable | default | meaning |\n|---|---|---|\n{rows}\n"
            )
    return "".join(parts)


def _row(variable: str) -> str:
    field = Settings.model_fields[VARIABLES[variable]]
    mark = " †" if variable in SECRETS else ""
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{variable}`{mark} | {_default(field.default)} | {meaning} |"


def _default(value: object) -> str:
    if value is None or value is PydanticUndefined or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    # The default folder is named in its meaning, with the variable it depends on.
    return "" if isinstance(value, Path) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
