"""A Modelfile for Ollama, with the very template that the adapter was trained with.

The template is Go's text/template over a list of messages. It has no actions that trim white
space, so that every character between the actions is one of the prompt.
"""

from __future__ import annotations

from pipelines.training.exporting.turns import Turns

_QUOTES = '"""'


def write_modelfile(turns: Turns, *, gguf: str, stop: str, context_tokens: int) -> str:
    """Return the text of a Modelfile.

    Args:
        turns: The chat template.
        gguf: Path of the GGUF file, from the folder of the Modelfile.
        stop: The token that ends an answer.
        context_tokens: Longest conversation; Ollama silently cuts what is longer.
    """
    return "\n".join(
        (
            f"FROM {gguf}",
            f"TEMPLATE {_QUOTES}{go_template(turns)}{_QUOTES}",
            f"PARAMETER stop {_quoted(stop)}",
            f"PARAMETER num_ctx {context_tokens}",
            "# As it was evaluated: the likeliest token, and quotes may repeat what stands in the prompt.",
            "PARAMETER temperature 0",
            "PARAMETER repeat_penalty 1",
            "",
        )
    )


def go_template(turns: Turns) -> str:
    """Return a chat template in Go's template language."""
    first = ""
    if turns.without_system:
        first = '{{ if ne (index .Messages 0).Role "system" }}' + _literal(turns.without_system) + "{{ end }}"
    branches = "{{ else ".join(
        f'if eq .Role "{role}" }}}}{_literal(before)}{{{{ .Content }}}}{_literal(after)}'
        for role, (before, after) in turns.around.items()
    )
    loop = "{{ range .Messages }}{{ " + branches + "{{ end }}{{ end }}"
    return first + loop + _literal(turns.opening)


def _literal(text: str) -> str:
    """Return text that a template shows as it is, and that does not end the Modelfile's quotes."""
    escaped = text.replace("{{", "{{ `{{` }}")
    return escaped.replace(_QUOTES, r'{{ "\x22\x22\x22" }}')


def _quoted(text: str) -> str:
    return f"{_QUOTES}{text}{_QUOTES}" if '"' in text else f'"{text}"'
