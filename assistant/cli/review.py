"""`assistant data review`: steps through records, or decides about many at once."""

from __future__ import annotations

import click

from assistant.cli.session import RunOptions, make_context, run_operation
from assistant.terminal.console import open_terminal
from assistant.terminal.keys import open_keyboard
from assistant.terminal.review import Reviewer
from pipelines.dataset.review import REVIEW_DATASET, ReviewParams, open_review

_SUMMARY = "Step through the records of a dataset: accept, edit, reject, or decide many by a rule."


def _review(
    dataset: str, rule: str, *, undo: bool, dry_run: bool, show_all: bool, json_output: bool, yes: bool
) -> None:
    if rule or undo or json_output:
        values = {"dataset": dataset, "rule": rule, "undo": undo, "dry_run": dry_run}
        run_operation(REVIEW_DATASET, values, RunOptions(json=json_output, yes=yes))
        return
    with open_terminal(is_json=False) as terminal:
        context = make_context(terminal, yes=yes)
        review = open_review(context.workspace.dataset(dataset), known=context.workspace.names("datasets"))
        if review.log.made.damaged:
            context.notice(f"{review.log.made.damaged} decisions were cut short by a crash, and do not count")
        Reviewer(terminal=terminal, keyboard=open_keyboard(), review=review, shows_decided=show_all).run()


def _described(name: str) -> str:
    return ReviewParams.model_fields[name].description or ""


REVIEW = click.Command(
    "review",
    callback=_review,
    params=[
        click.Argument(["dataset"], metavar="DATASET"),
        click.Option(["--rule"], default="", help=_described("rule")),
        click.Option(["--undo"], is_flag=True, help=_described("undo")),
        click.Option(["--dry-run"], is_flag=True, help=_described("dry_run")),
        click.Option(["--all", "show_all"], is_flag=True, help="Show also what is decided already."),
        click.Option(["--json", "json_output"], is_flag=True, help="Print how far the review is as one JSON object."),
        click.Option(["--yes"], is_flag=True, help="Agree beforehand to what a rule will do."),
    ],
    help=f"{_SUMMARY}\n\nDATASET: {_described('dataset')}",
    short_help=_SUMMARY,
)
