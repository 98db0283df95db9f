"""The progress bar of a measurement, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from ops.cli.screen import console


class Speed(ProgressColumn):
    """How many a second, where it is known."""

    def render(self, task: Task) -> Text:
        """What stands in the bar."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


class Progress:
    """One bar for one step at a time."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def begin(self, label: str, total: int | None = None) -> None:
        """Go on to a step of `total` commands or rows; None where nobody can say."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(label, total=total)

    def move(self, count: int) -> None:
        """Say how many are through."""
        if self._task is not None:
            self._bar.update(self._task, completed=count)

    def parts(self, label: str) -> Callable[[str, int, int], None]:
        """A step of parts: to be called with a part's name, how much of it is done, and of what."""
        shown = ""

        def report(part: str, done: int, total: int) -> None:
            nonlocal shown
            if part != shown:
                self.begin(f"{label}: {part}", total)
            shown = part
            self.move(done)

        return report


@contextmanager
def progress() -> Iterator[Progress]:
    """Show a bar for the length of a `with` block; nothing where stderr is no terminal."""
    screen = console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Bar(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        yield Progress(bar)
