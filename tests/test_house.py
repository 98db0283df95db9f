"""The house rules that no linter knows: sizes, first lines, and whose packages these are."""

from __future__ import annotations

import ast
import importlib
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("consumers", "ledger", "ops", "producers", "schemas")
FUNCTION_LINES_MAX = 70
FUNCTION_LINES_MEDIAN_MAX = 10
FILE_LINES_MAX = 400


def _files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a file with its lines, without decorators and docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_ours_and_not_another_distributions(name: str) -> None:
    assert importlib.import_module(name).__file__ == str(ROOT / name / "__init__.py")


def test_no_file_is_too_long_to_be_read_in_one_go() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in _files(*PACKAGES, "tests")}
    assert not {str(path): lines for path, lines in lengths.items() if lines > FILE_LINES_MAX}


def test_no_function_is_too_long_and_most_are_short() -> None:
    functions = [found for path in _files(*PACKAGES, "tests") for found in _functions(path)]
    assert not [found for found in functions if found[1] > FUNCTION_LINES_MAX]
    ours = [lines for path in _files(*PACKAGES) for _, lines in _functions(path)]
    assert statistics.median(ours) <= FUNCTION_LINES_MEDIAN_MAX


def test_every_file_opens_with_one_line_that_says_its_purpose() -> None:
    def opening(path: Path) -> str:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        return text.split("\n\n", maxsplit=1)[0]

    silent = [str(path) for path in _files(*PACKAGES, "tests") if not opening(path)]
    assert not silent
    rambling = [str(path) for path in _files(*PACKAGES, "tests") if "\n" in opening(path)]
    assert not rambling
