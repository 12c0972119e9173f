"""Chat logs as conversations: what people export from messengers, channels and help desks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.dataset.imports.formats import Problem
from pipelines.errors import DataError
from pipelines.records import Role
from pipelines.text import clean_text

_DATE = r"\d{1,4}(?:[-/.]|年)\d{1,2}(?:[-/.]|月)\d{1,4}日?"
_TIME = r"(?:[上下]午)?\s?\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\.\d+)?(?:\s?[AaPp]\.?[Mm]\.?)?Z?"
_STAMP = rf"\[?(?:(?P<date>{_DATE})[,，]?(?:[ T]+|\s*[-–]\s*|(?=\])))?(?:{_TIME})?\]?\s*[-–|]?\s*"
_SPEAKER = r"[^\W_][^:：<>\n\[\]]{0,39}?"
# A nick in angle brackets, or a name before a colon; in both cases perhaps after a stamp.
_LINE = re.compile(
    rf"(?P<stamp>(?>{_STAMP}))"  # atomic: the hour is nobody's name
    rf"(?:<[@+%&~ ]?(?P<nick>[^<>\s]{{1,40}})>\s?|(?P<name>{_SPEAKER})\s?[:：](?!//)\s?)(?P<text>.*)"
)
_NOTICE = re.compile(rf"\[?{_DATE}[,， T]+{_TIME}")
_SEPARATOR = re.compile(r"\s*(?:-{3,}|={3,}|\*{3,}|#{3,}|_{3,})\s*$")
_NO_TEXT = re.compile(
    r"\s*(?:<[^<>]*(?:omitted|weggelassen|省略)[^<>]*>|\w+ omitted|null|This message was deleted\.?)\s*$", re.IGNORECASE
)
_ASSISTANTS = ("assistant", "bot", "chatbot", "ai", "gpt", "chatgpt", "support", "agent", "客服", "助手", "机器人")
# A log without dates or separators goes on for ever; as one example it would teach one answer.
_MOST_TURNS = 16
_SHOWN_SPEAKERS = 12


@dataclass
class Turn:
    """What one speaker said before another did."""

    speaker: str
    lines: list[str]
    place: str


@dataclass(frozen=True, kw_only=True)
class Speakers:
    """Who speaks in a log, how often, and whether each line says when."""

    counts: Counter[str]
    is_stamped: bool

    def said(self, line: str) -> re.Match[str] | None:
        """Return the parts of a line that begins a message; None if it goes on with one."""
        match = _said(line)
        if match is None or (self.is_stamped and not match["stamp"].strip()):
            return None
        return match if _speaker(match) in self.counts else None


def is_chat(lines: Sequence[str]) -> bool:
    """Whether lines look like a chat log: it begins soon, and somebody speaks more than once."""
    said = [number for number, line in enumerate(lines) if _said(line)]
    speakers = {_speaker(match) for line in lines if (match := _said(line))}
    return len(said) >= 2 and said[0] <= 3 and (1 < len(speakers) < len(said) or len(said) == len(lines))


def find_speakers(lines: Iterable[str]) -> Speakers:
    """Return the speakers of a log, without what only looks like one."""
    stamped: Counter[str] = Counter()
    bare: Counter[str] = Counter()
    for line in lines:
        if match := _said(line):
            (stamped if match["stamp"].strip() else bare)[_speaker(match)] += 1
    if stamped.total() >= bare.total():
        return Speakers(counts=stamped, is_stamped=True)
    # "Note: ..." in a message looks like a speaker, but one who never comes back.
    often = Counter({name: count for name, count in bare.items() if count > 1})
    return Speakers(counts=often if len(often) > 1 else bare, is_stamped=False)


def _said(line: str) -> re.Match[str] | None:
    return _LINE.match(clean_text(line).strip())


def _speaker(match: re.Match[str]) -> str:
    return str(match["nick"] or match["name"]).strip()


def find_assistant(speakers: Speakers, named: str) -> str:
    """Return the speaker whose words are to be learnt.

    Raises:
        DataError: It cannot be told, or the one that was named does not speak.
    """
    known = ", ".join(f"{name} ({count})" for name, count in speakers.counts.most_common(_SHOWN_SPEAKERS))
    by_name = {name.casefold(): name for name in speakers.counts}
    if named:
        found = by_name.get(named.strip().casefold())
        if found is None:
            raise DataError(f"nobody called {named!r} speaks in the log; the speakers are: {known}")
        return found
    likely = [name for key, name in by_name.items() if key in _ASSISTANTS]
    if len(likely) != 1:
        raise DataError(
            f"cannot tell which speaker is the assistant; the speakers are: {known}",
            hint="Name the one whose answers are to be learnt: --assistant NAME",
        )
    return likely[0]


def read_chats(
    lines: Iterable[str], speakers: Speakers, *, assistant: str
) -> Iterator[tuple[str, list[tuple[Role, str]]] | Problem]:
    """Yield each conversation of a log, as where it begins and its turns.

    A conversation ends with the date, at a line of dashes, or when it grows too long.
    """
    turns: list[Turn] = []
    date = ""
    for number, line in enumerate(lines, start=1):
        line = clean_text(line).strip()
        match = speakers.said(line)
        if match is None:
            if _SEPARATOR.match(line):
                yield from _finished(turns, assistant)
                turns = []
            elif turns and not _NOTICE.match(line):
                turns[-1].lines.append(line)
            elif line:
                yield Problem(place=f"line {number}", reason="is said by nobody", text=line)
            continue
        if _NO_TEXT.match(match["text"]):
            yield Problem(place=f"line {number}", reason="is a message without text", text=line)
            continue
        is_another_day = bool(date and match["date"]) and match["date"] != date
        date = match["date"] or date
        if is_another_day or _is_long(turns, assistant, before=_speaker(match)):
            yield from _finished(turns, assistant)
            turns = []
        _say(turns, _speaker(match), match["text"], f"line {number}")
    yield from _finished(turns, assistant)


def _is_long(turns: Sequence[Turn], assistant: str, *, before: str) -> bool:
    """Whether turns are enough for one conversation, and the next one asks something new."""
    return len(turns) >= _MOST_TURNS and turns[-1].speaker == assistant != before


def _say(turns: list[Turn], speaker: str, text: str, place: str) -> None:
    if turns and turns[-1].speaker == speaker:
        turns[-1].lines.append(text)
    else:
        turns.append(Turn(speaker=speaker, lines=[text], place=place))


def _finished(turns: list[Turn], assistant: str) -> Iterator[tuple[str, list[tuple[Role, str]]]]:
    """Yield the conversation that has come to its end; several people who ask count as one."""
    if not turns:
        return
    merged: list[tuple[Role, str]] = []
    for turn in turns:
        role: Role = "assistant" if turn.speaker == assistant else "user"
        text = "\n".join(turn.lines).strip()
        if merged and merged[-1][0] == role:
            merged[-1] = (role, f"{merged[-1][1]}\n{text}")
        else:
            merged.append((role, text))
    yield turns[0].place, merged
