"""One record of a dataset as lines for the terminal, its quotes marked in their passages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from pipelines.dataset.reviewing.decisions import Decision
from pipelines.records import Chunk, Example, ExampleKind
from pipelines.text import clean_text, fold_space

Say = Callable[..., str]
Range = tuple[int, int, str]  # start, end, label
# Characters around a quote; the whole passage rarely fits on a screen.
_AROUND = 220
_KINDS = {ExampleKind.FALSE_PREMISE: "false premise"}
_QUOTED, _MARKS = "bold green", ("«", "»")


@dataclass(frozen=True, kw_only=True)
class _Piece:
    text: str
    is_marked: bool = False
    label: str = ""


class RecordView:
    """Draws records."""

    def __init__(self, say: Say, chunks: Mapping[str, Chunk], *, is_plain: bool) -> None:
        self._say = say
        self._chunks = chunks
        self._is_plain = is_plain

    def lines(
        self, example: Example, decision: Decision | None, *, width: int, shows_all: bool
    ) -> Iterator[RenderableType]:
        """Yield what to print of a record, from its kind to its passages."""
        say = self._say
        head = self._head(example)
        yield (
            Text(head) if self._is_plain else Rule(Text(head, style="bold"), align="left", style="dim", characters="─")
        )
        if decision is not None:
            yield self._decided(decision)
        yield from self._before(example)
        yield from self._block(say("Question"), self._marked(example.question, _spans(example)))
        quoted = [
            (place, place + len(quote.quote), "")
            for quote in example.quotes
            if (place := example.answer.find(quote.quote)) >= 0 and not self._is_plain
        ]
        yield from self._block(say("Answer"), self._marked(example.answer, quoted))
        if example.rejected:
            yield from self._block(say("Worse answer"), Text(clean_text(example.rejected), style="dim"))
        for chunk in self._shown(example):
            ranges = _ranges(example, chunk)
            title = " › ".join(fold_space(clean_text(each)) for each in (chunk.document, chunk.heading) if each)
            page = f", {say('page {page}', page=chunk.page)}" if chunk.page else ""
            text = self._passage(chunk.text, ranges, shows_all=shows_all, around=_AROUND * max(1, width // 80))
            yield from self._block(f"{title}{page}", text, style="dim cyan")

    def _head(self, example: Example) -> str:
        scores = [f"{name} {value:.2f}" for name, value in sorted(example.scores.items())]
        flags = [f"! {flag}" for flag in example.flags]
        label = [example.label] if example.label and example.label != example.answer else []
        parts = [self._say(_KINDS.get(example.kind, example.kind.value)), *label, *scores[:4], *flags]
        return fold_space(clean_text(" · ".join(parts)))

    def _decided(self, decision: Decision) -> Text:
        done = {"accept": "accepted", "reject": "rejected", "edit": "edited"}[decision.action]
        because = " — ".join(fold_space(clean_text(each)) for each in (decision.reason, decision.rule) if each)
        return Text(f"{self._say(done)}{': ' if because else ''}{because}", style="magenta")

    def _before(self, example: Example) -> Iterator[RenderableType]:
        """Yield what was said before the question, where that is not the question alone."""
        names = {"system": "System", "user": "User", "assistant": "Assistant"}
        for message in example.messages[:-2]:
            yield from self._block(self._say(names[message.role]), Text(clean_text(message.content)), style="dim")

    def _block(self, title: str, text: Text, *, style: str = "bold") -> Iterator[RenderableType]:
        if not self._is_plain:
            yield ""
        yield Text(title, style=style)
        yield Padding(text, (0, 0, 0, 2), expand=False)

    def _shown(self, example: Example) -> list[Chunk]:
        return [self._chunks[each] for each in example.sources or example.chunks if each in self._chunks]

    def _passage(self, text: str, ranges: Sequence[Range], *, shows_all: bool, around: int) -> Text:
        """Return a passage with its quotes marked; around them only, unless all is to be shown."""
        if shows_all:
            return self._marked(text, ranges)
        first = min((start for start, _end, _label in ranges), default=0)
        last = max((end for _start, end, _label in ranges), default=around)
        # Cut between words, where there are spaces between words.
        begin = text.find(" ", max(0, first - around), first) + 1 if first > around else 0
        finish = max(text.rfind(" ", last, last + around), last) if last + around < len(text) else len(text)
        inside = [(start - begin, end - begin, label) for start, end, label in ranges]
        marked = self._marked(text[begin:finish], inside, folds=True)
        return Text.assemble("…" if begin else "", marked, "…" if finish < len(text) else "")

    def _marked(self, text: str, ranges: Sequence[Range], *, folds: bool = False) -> Text:
        before, after = _MARKS if self._is_plain else ("", "")
        marked = Text()
        for piece in _pieces(text, ranges):
            shown = clean_text(piece.text)
            if folds:  # but keep the space between a quote and what is around it
                shown = f"{' ' * shown[:1].isspace()}{fold_space(shown)}{' ' * shown[-1:].isspace()}"
            if not piece.is_marked:
                marked.append(shown)
                continue
            marked.append(f"{before}{shown}{after}", style=_QUOTED)
            marked.append(f" [{clean_text(piece.label)}]" if piece.label else "", style="cyan")
        return marked


def _pieces(text: str, ranges: Sequence[Range]) -> Iterator[_Piece]:
    """Cut a text where marked ranges begin and end; ranges that overlap are cut short."""
    position = 0
    for start, end, label in sorted(ranges):
        start = max(start, position)
        if start >= min(end, len(text)):
            continue
        yield _Piece(text=text[position:start])
        yield _Piece(text=text[start:end], is_marked=True, label=label)
        position = end
    yield _Piece(text=text[position:])


def _spans(example: Example) -> list[Range]:
    return [(span.start, span.end, span.label) for span in example.spans]


def _ranges(example: Example, chunk: Chunk) -> list[Range]:
    """Return where the example's quotes stand in a chunk."""
    mine = [quote for quote in example.quotes if quote.document == chunk.document]
    places = [(quote.start - chunk.start, quote.end - chunk.start) for quote in mine]
    return [(start, end, "") for start, end in places if 0 <= start < end <= len(chunk.text)]
