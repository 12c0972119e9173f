"""What a page of HTML holds but does not show."""

from __future__ import annotations

import re
from collections.abc import Container

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from pipelines.knowledge.reading.plain import PlainText

_HIDING = re.compile(
    r"(?<![\w-])(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*0(?:\.0\d*)?\s*(?:$|[;!])"
    r"|font-size\s*:\s*(?:0(?:\.\d+)?|1px|1pt)\s*(?:px|pt|em|rem|%)?\s*(?:$|[;!])"
    r"|text-indent\s*:\s*-\d{3,}|(?:left|right|top)\s*:\s*-\d{4,}px|mso-hide\s*:\s*all)",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"(?:^|;)\s*color\s*:\s*([^;!]+)", re.IGNORECASE)
_BACKGROUND = re.compile(r"(?:^|;)\s*background(?:-color)?\s*:\s*([^;!]+)", re.IGNORECASE)
_AT_RULE = re.compile(r"@[^{};]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}|/\*.*?\*/", re.DOTALL)
_RULE = re.compile(r"([^{}@]+)\{([^{}]*)\}")
_SIMPLE_SELECTOR = re.compile(r"[\w.#\-\s,>*\[\]=\"']+")
_ROOTS = ("html", "body")
_NAMES = {"white": "#fff", "black": "#000", "transparent": "transparent"}


def remove_unseen(tree: LexborHTMLParser, plain: PlainText, *, dropped: str) -> None:
    """Take out of a page what `dropped` selects and what is not shown; of the latter, count what held text.

    Style sheets within the page are obeyed as far as their selectors are simple; those in
    other files are not read.
    """
    hidden = list(tree.css("[hidden]"))
    for node in tree.css("[style]"):
        style = node.attributes.get("style") or ""
        if _HIDING.search(style) or _has_colour_of_its_ground(node, style):
            hidden.append(node)
    for sheet in tree.css("style"):
        for selector, declarations in _RULE.findall(_AT_RULE.sub("", sheet.text())):
            if _HIDING.search(declarations) and _SIMPLE_SELECTOR.fullmatch(selector):
                hidden += _select(tree, selector.strip())
    unwanted = tree.css(dropped)
    doomed = {node.mem_id: True for node in hidden} | {node.mem_id: False for node in unwanted}
    outermost = {node.mem_id: node for node in [*unwanted, *hidden] if not _is_below(node, doomed)}
    for identity, node in outermost.items():
        if node.tag in _ROOTS:
            continue
        if doomed[identity] and node.text().strip():
            plain.hidden["hidden parts"] += 1
        node.decompose()


def _is_below(node: LexborNode, doomed: Container[int]) -> bool:
    above = node.parent
    while above is not None:
        if above.mem_id in doomed and above.tag not in _ROOTS:
            return True
        above = above.parent
    return False


def _select(tree: LexborHTMLParser, selector: str) -> list[LexborNode]:
    try:
        return tree.css(selector)
    except SelectolaxError:
        return []


def _has_colour_of_its_ground(node: LexborNode, style: str) -> bool:
    found = _COLOUR.search(style)
    if found is None:
        return False
    colour = _normal(found[1])
    if colour == "transparent":
        return True
    ground: LexborNode | None = node
    while ground is not None:
        own = _BACKGROUND.search(ground.attributes.get("style") or "")
        shade = own[1] if own else ground.attributes.get("bgcolor")
        if shade:
            return _normal(shade) == colour
        ground = ground.parent
    return colour == "#ffffff"


def _normal(colour: str) -> str:
    """Return a colour as #rrggbb where it is written in a usual way."""
    text = colour.strip().lower()
    text = _NAMES.get(text, text)
    parts = re.fullmatch(r"rgba?\((\d+)[,\s]+(\d+)[,\s]+(\d+)(?:[,/\s]+([\d.]+%?))?\)", text)
    if parts:
        if parts[4] and float(parts[4].rstrip("%")) == 0:
            return "transparent"
        return "#" + "".join(f"{min(255, int(part)):02x}" for part in parts.groups()[:3])
    if re.fullmatch(r"#[0-9a-f]{3}", text):
        return "#" + "".join(2 * digit for digit in text[1:])
    return text
