"""A plot of losses for the terminal: dots of braille, eight to a character.

A pure function from numbers to lines, so that it can be tested and drawn anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Points = Sequence[tuple[int, float]]

VALIDATION_MARK = "◆"
_BLANK = 0x2800
# The bit of each dot by its row and column in the character (Unicode, Braille Patterns).
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_LABEL = 7  # characters of a number at the left


def plot_lines(training: Points, validation: Points, *, steps: int, width: int = 60, height: int = 8) -> list[str]:
    """Draw losses by step: training as a line of dots, validation as marks.

    Args:
        training: Step and loss of each point, in order; not empty.
        validation: Likewise; may be empty.
        steps: The step at the right edge.
        width: Characters in all.
        height: Lines of the plot, without the one for the steps.

    Returns:
        `height` + 1 lines of at most `width` characters.
    """
    columns = width - _LABEL - 2
    values = [value for _step, value in (*training, *validation)]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    last = max(steps, training[-1][0], 2)

    def place(step: int, value: float) -> tuple[int, int]:
        """Return column and row of a dot, from the left and from the top."""
        across = (step - 1) / (last - 1) * (2 * columns - 1)
        return round(across), round((high - value) / span * (4 * height - 1))

    cells = _line_of_dots([place(*point) for point in training], columns=columns, height=height)
    for column, row in (place(*point) for point in validation):
        cells[row // 4][column // 2] = VALIDATION_MARK
    labels = {0: _number(high)}
    if low < high:
        labels |= {height // 2: _number((high + low) / 2), height - 1: _number(low)}
    axis = [f"{labels[row]:>{_LABEL}} ┤" if row in labels else f"{'':>{_LABEL}} │" for row in range(height)]
    drawn = [(mark + "".join(line)).rstrip() for mark, line in zip(axis, cells, strict=True)]
    return [*drawn, f"{'':>{_LABEL}}  1{last:>{columns - 1},}"]


def _line_of_dots(dots: Sequence[tuple[int, int]], *, columns: int, height: int) -> list[list[str]]:
    """Return the characters of a line through `dots`; where several share a column, through all of them."""
    bits = [[0] * columns for _row in range(height)]
    previous = dots[0]
    for column, row in dots:
        reach = max(1, column - previous[0], abs(row - previous[1]))
        for part in range(reach + 1):
            x = previous[0] + round((column - previous[0]) * part / reach)
            y = previous[1] + round((row - previous[1]) * part / reach)
            bits[y // 4][x // 2] |= _BITS[y % 4][x % 2]
        previous = (column, row)
    return [[chr(_BLANK + cell) if cell else " " for cell in line] for line in bits]


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 1000 else 3 if abs(value) < 10 else 1
    return f"{value:.{digits}f}" if math.isfinite(value) and abs(value) < 1e6 else f"{value:.0e}"
