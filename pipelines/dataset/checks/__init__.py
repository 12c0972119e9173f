"""The checks that every example passes, cheap first.

A check takes an example and returns it, with what it measured, or the reason to drop it.
"""

from __future__ import annotations

from collections.abc import Callable

from pipelines.records import Example, Rejection

Check = Callable[[Example], Example | Rejection]
