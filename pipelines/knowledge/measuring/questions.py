"""Questions with known places: where the documents answer them, or that they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.quotes import locate
from pipelines.records import Chunk, Document, Language

_MOST_PLACES = 20  # of one quote


@dataclass(frozen=True)
class Place:
    """Where a document answers; the whole of it where no offsets are known."""

    document: str
    start: int | None = None
    end: int | None = None

    def is_in(self, chunk: Chunk) -> bool:
        """Whether a chunk holds any of it."""
        if self.document != chunk.document:
            return False
        return self.start is None or self.end is None or (chunk.start < self.end and self.start < chunk.end)


# Places of which one is as good as another: where the same sentence stands.
Target = tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class KnownQuestion:
    """A question and all that has to be found for it; nothing where the documents do not answer."""

    question: str
    language: Language
    targets: tuple[Target, ...] = ()

    @property
    def is_answerable(self) -> bool:
        """Whether the documents answer it."""
        return bool(self.targets)

    @property
    def is_about_documents(self) -> bool:
        """Whether no more is known than the documents that answer; then a document counts once."""
        return all(place.start is None for target in self.targets for place in target)

    @property
    def document(self) -> str:
        """Id of the document that answers; of the first, where there are several."""
        return self.targets[0][0].document if self.targets else ""


def find_quote(quote: str, document: Document) -> Target:
    """Return the first places where a quote stands in a document, whatever its white space; none if it does not."""
    places: list[Place] = []
    position = 0
    while len(places) < _MOST_PLACES:
        text = document.text[position:]
        found = locate(quote, Chunk(id="", document=document.id, start=position, end=position + len(text), text=text))
        if found is None:
            break
        places.append(Place(document.id, found.start, found.end))
        position = found.end
    return tuple(places)


def join_targets(targets: Iterable[Target], chunks: Mapping[str, Sequence[Chunk]]) -> tuple[Target, ...]:
    """Return targets of which no two lie in the same chunk, so that one passage is one find.

    Args:
        targets: Some, perhaps two sentences of one chunk.
        chunks: The chunks of each document.
    """
    joined: list[tuple[set[str], Target]] = []
    for target in targets:
        held = {
            chunk.id
            for document in {place.document for place in target}
            for chunk in chunks.get(document, ())
            if any(place.is_in(chunk) for place in target)
        }
        apart = []
        for others, other in joined:
            if held & others:
                held, target = held | others, (*other, *(place for place in target if place not in other))
            else:
                apart.append((others, other))
        joined = [*apart, (held, target)]
    return tuple(target for _held, target in joined)
