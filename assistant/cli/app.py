"""The command line as a whole: its groups, its global options, its exit codes."""

from __future__ import annotations

import errno
import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from assistant import __version__
from assistant.cli.entries import INTERRUPTED, Entry, LazyGroup

if TYPE_CHECKING:
    from assistant.cli.talk import Output

USAGE_ERROR = 2
_DISK_FULL = "Free some disk space and run the same command again: what models have answered is kept."

_EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 usage, 3 settings or keys, 4 model endpoint, 5 budget, "
    "6 approval needed, 7 data, 8 training, 130 interrupted."
)


def _talk(workspace: str | None, prompt: str | None, output: Output, *, yes: bool) -> None:
    del workspace  # read from the context by whoever opens the workspace
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        return
    from assistant.cli.talk import talk

    context.exit(talk(prompt, output=output, yes=yes))


APP = LazyGroup(
    "assistant",
    help="Turn a topic or a folder of private documents into a chatbot of your own.\n\n"
    "Without a command, talk to the agent.",
    epilog=_EPILOG,
    invoke_without_command=True,
    callback=_talk,
    params=[
        click.Option(["-w", "--workspace"], metavar="FOLDER", help="Workspace; else the one around this folder."),
        click.Option(
            ["-p", "--prompt"],
            metavar="TEXT",
            help="Say one thing to the agent, and leave. '-' reads it from standard input.",
        ),
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["text", "json", "stream-json"]),
            default="text",
            help="Form of the agent's answer with -p.",
        ),
        click.Option(["--yes"], is_flag=True, help="Agree beforehand to what the agent proposes."),
    ],
    entries={
        "init": Entry("pipelines.init:MAKE_WORKSPACE", "Make a folder a workspace."),
        "docs": Entry("assistant.cli.docs:GROUP", "Documents that chatbots answer from."),
        "data": Entry("assistant.cli.data:GROUP", "Training datasets, written by a teacher."),
        "train": Entry("assistant.cli.train:GROUP", "Fine-tuning of a local model."),
        "evaluate": Entry(
            "pipelines.evaluation.evaluate:EVALUATE_ADAPTER",
            "Compare the tuned model with its base on the held-out test split.",
        ),
        "bot": Entry("assistant.cli.bot:GROUP", "Chatbots that answer from documents."),
        "models": Entry("assistant.cli.models:GROUP", "Models on this machine."),
        "usage": Entry("pipelines.usage:SHOW_USAGE", "Show tokens and money by day, dataset and model."),
        "doctor": Entry("pipelines.doctor:CHECK_MACHINE", "Check the machine and the settings."),
    },
)
click.version_option(__version__, message="assistant %(version)s")(APP)


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    is_json = "--json" in arguments or _asks_for_json(arguments)
    try:
        code = APP.main(list(arguments), prog_name="assistant", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        return USAGE_ERROR
    except click.ClickException as error:
        _show(error.format_message(), "See --help.", kind="UsageError", is_json=is_json)
        return USAGE_ERROR
    except (KeyboardInterrupt, click.Abort):
        _show("Stopped. Run the same command again to go on from here.", "", kind="Interrupted", is_json=is_json)
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001 - the edge of the program
        return _fail(error, is_json=is_json)
    return code if isinstance(code, int) else 0


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether the agent's answer was asked for in a form for programs."""
    forms = [form for option, form in itertools.pairwise(arguments) if option in ("-o", "--output")]
    forms += [each.partition("=")[2] for each in arguments if each.startswith("--output=")]
    return bool({"json", "stream-json"}.intersection(forms))


def _fail(error: Exception, *, is_json: bool) -> int:
    from pipelines.errors import AssistantError

    if isinstance(error, AssistantError):
        _show(str(error), error.hint, kind=type(error).__name__, is_json=is_json)
        return error.exit_code
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        hint = _DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        _show(f"{error.strerror or error}{where}", hint, kind=type(error).__name__, is_json=is_json)
        return 1
    _show(
        f"unexpected {type(error).__name__}: {error}",
        "This is a fault of the program. Set ASSISTANT_TRACEBACK=1 to see where.",
        kind=type(error).__name__,
        is_json=is_json,
    )
    return 1


def _show(message: str, hint: str, *, kind: str, is_json: bool) -> None:
    from assistant.cli.failures import show_failure

    show_failure(message, hint, kind=kind, is_json=is_json, has_traceback=sys.exc_info()[0] is not None)
