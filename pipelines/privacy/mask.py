"""Placeholders for private data, and the way back.

`[EMAIL-4F2A91]` stands for one value: its digits are the start of an HMAC-SHA256 of the kind
and the normal form of the value, keyed with a salt that never leaves the machine. So the same
value has the same placeholder in every text, whatever was masked before, and whoever sees the
placeholder cannot test a guess. Masking is a function of the salt and the text alone:

- Two values of one text whose digits agree both get more digits, in that text.
- Another spelling of a value in the same text (a capital in an e-mail, a phone with spaces)
  gets a number: `[EMAIL-4F2A91-2]`. In a text with one spelling there is no number.
- What already looks like a placeholder is a value too, of the kind MARK, so that it comes
  back as it was and is never taken for one of ours.

Limits: six digits are 2**24, so among 5,000 values of one kind one pair shares them about
every second time. Across texts that pair has one placeholder; `restore` then leaves it as it
is, unless it is told the text that was masked, from which it knows which of the two is meant.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pipelines.errors import DataError
from pipelines.privacy.detect import Finding, PrivateKind, find_private
from pipelines.privacy.kinds import compact, plain

_MARK = "MARK"
# One short word each: a model copies it, and it says what stands there.
_WORDS = {kind: kind.value for kind in PrivateKind} | {
    PrivateKind.NATIONAL_ID: "ID",
    PrivateKind.BANK_ACCOUNT: "ACCOUNT",
}
_DIGITS = 6
_SALT_BYTES = 32
# As written, and as a model may damage it: case, hyphen, spaces, other brackets.
_PLACEHOLDER = re.compile(
    rf"[\[［【〔]\s*(?P<word>{'|'.join([*_WORDS.values(), _MARK])})[\s_:‐-―－-]*(?P<digits>[0-9A-F]{{{_DIGITS},64}})"
    r"(?:\s*[‐-―－-]\s*(?P<spelling>\d{1,9}))?\s*[\]］】〕]",
    re.IGNORECASE | re.ASCII,
)
_AT, _DOT = re.compile(r"\s?[\[({]\s?at\s?[\])}]\s?"), re.compile(r"\s?[\[({]\s?dot\s?[\])}]\s?")


@dataclass(frozen=True)
class Piece:
    """A part of a text that is to be replaced; `value` is equal for two spellings of the same."""

    word: str
    value: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Replacement:
    """A part of a text, and the placeholder for it."""

    piece: Piece
    placeholder: str


class Masker:
    """Replaces private data by placeholders that the same salt always makes the same."""

    def __init__(self, salt: bytes) -> None:
        if len(salt) < _SALT_BYTES // 2:
            raise ValueError(f"expected a salt of at least {_SALT_BYTES // 2} bytes, got {len(salt)}")
        self._salt = salt
        self._lock = threading.Lock()
        self._seen: dict[str, Piece] = {}
        self._shared: set[str] = set()  # placeholders of two values

    def mask(self, text: str) -> str:
        """Return `text` with a placeholder for each find; `restore` takes it back to the letter."""
        replacements = self._replace(_pieces(text))
        self._remember(replacements)
        return substitute(text, replacements)

    def redact(self, text: str) -> str:
        """Return `text` with a placeholder for each find, for good: placeholders in it stay as they are."""
        return substitute(text, self.redactions(text))

    def redactions(self, text: str) -> list[Replacement]:
        """Return what `redact` replaces, in order."""
        return self._replace([piece for piece in _pieces(text) if piece.word != _MARK])

    def restore(self, text: str, *, source: str | Sequence[str] | None = None) -> str:
        """Return `text` with what its placeholders stand for; an unknown one stays as it is.

        Args:
            text: Masked, or written by a model that saw masked text; a placeholder may have
                lost its case, its hyphen, or the kind of its brackets.
            source: The text that was masked, before masking, or several. Their spellings win over
                those of other texts, and the first one's over the others'; without any, the last
                one masked wins.
        """
        sources = [source] if isinstance(source, str) else source or []
        replaced = [each for masked in reversed(sources) for each in self._replace(_pieces(masked))]
        own = {each.placeholder: each.piece for each in replaced}

        def known(match: re.Match[str]) -> str:
            placeholder = _canonical(match)
            seen = None if placeholder in self._shared else self._seen.get(placeholder)
            piece = own.get(placeholder, seen)
            return match.group() if piece is None else piece.text

        return _PLACEHOLDER.sub(known, text)

    def _replace(self, pieces: list[Piece]) -> list[Replacement]:
        digits = self._digits({(piece.word, piece.value) for piece in pieces})
        spellings: dict[tuple[str, str], list[str]] = {}
        replacements = []
        for piece in pieces:
            key = piece.word, piece.value
            seen = spellings.setdefault(key, [])
            if piece.text not in seen:
                seen.append(piece.text)
            number = seen.index(piece.text) + 1
            suffix = f"-{number}" if number > 1 else ""
            placeholder = f"[{piece.word}-{digits[key]}{suffix}]"
            replacements.append(Replacement(piece, placeholder))
        return replacements

    def _digits(self, values: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return the digits of each value: six, or as many as tell it from the others of its kind."""
        whole = {key: self._hash(*key) for key in values}
        length = dict.fromkeys(whole, _DIGITS)
        while True:
            holders: dict[tuple[str, str], list[tuple[str, str]]] = {}
            for key, digest in whole.items():
                holders.setdefault((key[0], digest[: length[key]]), []).append(key)
            crowded = [key for keys in holders.values() if len(keys) > 1 for key in keys]
            if not crowded:
                return {key: digest[: length[key]] for key, digest in whole.items()}
            for key in crowded:
                length[key] += 2

    def _hash(self, word: str, value: str) -> str:
        message = f"{word}\x1f{value}".encode("utf-8", "surrogatepass")
        return hmac.new(self._salt, message, hashlib.sha256).hexdigest().upper()

    def _remember(self, replacements: list[Replacement]) -> None:
        with self._lock:
            for each in replacements:
                before = self._seen.get(each.placeholder, each.piece)
                if before.value != each.piece.value:
                    self._shared.add(each.placeholder)
                self._seen[each.placeholder] = each.piece


def substitute(text: str, replacements: Iterable[Replacement]) -> str:
    """Return `text` with each replacement made; they are in order and do not overlap."""
    parts: list[str] = []
    position = 0
    for each in replacements:
        parts += [text[position : each.piece.start], each.placeholder]
        position = each.piece.end
    return "".join([*parts, text[position:]])


def load_salt(path: Path) -> bytes:
    """Return the salt in `path`; the first caller makes it, readable to its owner alone.

    Raises:
        DataError: The file is not such a salt, or cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.exists():
                _write_salt(path)
            salt = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read or make the salt {path}: {error.strerror}", path=path) from error
    if len(salt) != _SALT_BYTES:
        raise DataError(
            f"{path} holds {len(salt)} bytes, expected a salt of {_SALT_BYTES}",
            path=path,
            hint="Restore the file, or remove it: a new one is made, and placeholders change.",
        )
    return salt


def _write_salt(path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        # The mode is set when the file is made: there is no moment at which others can read it.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_SALT_BYTES))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _pieces(text: str) -> list[Piece]:
    """Return what is to be replaced; a find that touches what looks like a placeholder is one with it."""
    marks = [Piece(_MARK, match.group(), *match.span(), match.group()) for match in _PLACEHOLDER.finditer(text)]
    pieces: list[Piece] = []
    for piece in sorted([*map(_piece, find_private(text)), *marks], key=lambda each: each.start):
        if pieces and piece.start < pieces[-1].end:
            start, end = pieces[-1].start, max(pieces[-1].end, piece.end)
            pieces[-1] = Piece(_MARK, text[start:end], start, end, text[start:end])
        else:
            pieces.append(piece)
    return pieces


def _piece(finding: Finding) -> Piece:
    return Piece(_WORDS[finding.kind], _normal(finding), finding.start, finding.end, finding.text)


def _normal(finding: Finding) -> str:
    """Return what two spellings of one value have in common."""
    written = plain(finding.text)
    match finding.kind:
        case PrivateKind.KEY:
            return finding.text
        case PrivateKind.EMAIL:
            return _DOT.sub(".", _AT.sub("@", written.lower()))
        case PrivateKind.PHONE:
            digits = compact(written.replace("(0)", "")).lower()
            return re.sub(r"^00", "+", digits)
        case PrivateKind.NAME:
            return " ".join(written.casefold().split())
        case PrivateKind.IP:
            return written.lower()
        case _:
            return compact(written).replace(":", "").upper()


def _canonical(placeholder: re.Match[str]) -> str:
    spelling = placeholder["spelling"]
    suffix = f"-{spelling}" if spelling else ""
    return f"[{placeholder['word']}-{placeholder['digits']}{suffix}]".upper()
