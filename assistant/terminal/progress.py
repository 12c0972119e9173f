"""Progress that is redrawn, with a plot of the losses below it where there is room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from assistant.terminal.plot import VALIDATION_MARK, plot_lines
from pipelines.training.tracking.curves import Curve

_PLOT_WIDTH, _PLOT_HEIGHT = 60, 8
_LEAST_WIDTH, _LEAST_HEIGHT = 64, 18  # of the terminal, so that what was printed before stays in sight
_MOST_POINTS = 200
_FEWEST_POINTS = 2


class Losses:
    """The losses of the stage that is under way, as its progress tells them."""

    def __init__(self) -> None:
        self._stage = ""
        self._reached = 0
        self._steps = 0
        self._training = Curve(most=_MOST_POINTS)
        self._validation = Curve(most=_MOST_POINTS)

    def take(self, stage: str, done: int, total: int | None, detail: Mapping[str, str]) -> None:
        """Take what a step told; a stage that is another, or begins again, has losses of its own."""
        if "loss" not in detail:
            return
        if stage != self._stage or done < self._reached:
            self.__init__()  # type: ignore[misc]
        self._stage, self._reached, self._steps = stage, done, total or done
        for name, curve in (("loss", self._training), ("validation loss", self._validation)):
            if name in detail:
                curve.add(done, float(detail[name]))

    def lines(self) -> list[str]:
        """Return the plot; nothing while there is too little to see."""
        training = self._training.points()
        if len(training) < _FEWEST_POINTS:
            return []
        return plot_lines(
            training, self._validation.points(), steps=self._steps, width=_PLOT_WIDTH, height=_PLOT_HEIGHT
        )


class LiveProgress(Progress):
    """Bars for the stages, and a plot for one that has losses."""

    def __init__(self, console: Console, *, legend: str) -> None:
        """Prepare the bars; `legend` says what the plot's line and marks are."""
        self.losses = Losses()
        self._legend = legend
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            # Where the line is too long for the terminal, this one goes on below.
            TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=False)),
            console=console,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bars, and the plot if the terminal is large enough for it."""
        yield from super().get_renderables()
        lines = self.losses.lines()
        if lines and self._has_room():
            text = Text("\n".join([*lines, self._legend]), style="cyan", no_wrap=True)
            text.highlight_words([VALIDATION_MARK], style="bold yellow")
            yield text

    def _has_room(self) -> bool:
        size, options = self.console.size, self.console.options
        is_large = size.width >= _LEAST_WIDTH and size.height >= _LEAST_HEIGHT
        return is_large and not options.ascii_only and not self.console.is_dumb_terminal
