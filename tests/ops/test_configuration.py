"""docs/configuration.md tells of every setting, as it is."""

from __future__ import annotations

from ops.configuration import page
from ops.metrics import FIGURES
from schemas.settings import VARIABLES
from tests.test_house import ROOT


def test_the_page_is_what_the_settings_say() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == page(), "python -m ops.configuration > docs/configuration.md"
    assert [variable for variable in VARIABLES if f"`{variable}`" not in written] == []


def test_operating_explains_every_figure() -> None:
    written = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    assert [figure.name for figure in FIGURES if f"`{figure.name}" not in written] == []
