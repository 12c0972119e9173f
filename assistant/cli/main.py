"""Where the command `assistant` begins."""

from __future__ import annotations

import sys

from assistant import __version__


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:  # before anything is imported
        print(f"assistant {__version__}")  # noqa: T201
        return
    from assistant.cli.app import run

    sys.exit(run(sys.argv[1:]))
