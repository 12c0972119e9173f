"""E-mail (RFC 5322) and mailboxes (RFC 4155): headers and text; attachments are named, never opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import EmailMessage, MIMEPart

from pipelines.errors import DataError
from pipelines.knowledge.reading.encoding import decode
from pipelines.knowledge.reading.markup import add_html
from pipelines.knowledge.reading.plain import PlainText, Source
from pipelines.knowledge.reading.prose import add_text

_HEADERS = ("From", "To", "Cc", "Date")
_SEPARATOR = re.compile(rb"^From [^\r\n]*\d{4}[^\r\n]*\r?\n", re.MULTILINE)
_DEEPEST = 5
_MOST_PARTS = 500
_UNTITLED = "Message without a subject"


def read_mail(source: Source) -> PlainText:
    """Return the headers and the text of a message."""
    plain = PlainText()
    _add_message(plain, _parse(source.content), depth=0)
    return plain


def read_mailbox(source: Source) -> PlainText:
    """Return the messages of a mailbox, each under its subject.

    Raises:
        DataError: No message begins where the file does.
    """
    if not _SEPARATOR.match(source.content):
        raise DataError("is not a mailbox: it does not begin with 'From '", hint="Save its messages as .eml files.")
    plain = PlainText()
    for content in _SEPARATOR.split(source.content)[1:]:
        _add_message(plain, _parse(re.sub(rb"^>(>*From )", rb"\1", content, flags=re.MULTILINE)), depth=0)
    plain.title = source.name
    return plain


def _parse(content: bytes) -> EmailMessage:
    try:
        return message_from_bytes(content, policy=policy.default)
    except (MessageError, RecursionError, ValueError) as error:
        raise DataError(f"is not a readable message: {error}", hint="Save it again from the mail program.") from error


def _add_message(plain: PlainText, message: MIMEPart, *, depth: int) -> None:
    plain.add(plain.fold(_header(message, "Subject")) or _UNTITLED, level=min(6, depth + 1))
    plain.add("\n".join(f"{name}: {plain.fold(_header(message, name))}" for name in _HEADERS if name in message))
    for number, part in enumerate(_parts(message)):
        if number >= _MOST_PARTS:
            plain.hidden["further attachments"] += 1
        elif _is_body(part):
            _add_body(plain, part)
        elif part.get_content_type() == "message/rfc822" and depth < _DEEPEST:
            for inner in part.iter_parts():
                _add_message(plain, inner, depth=depth + 1)
        else:
            name = plain.fold(part.get_filename() or part.get_content_type())
            plain.add(f"Attachment: {name}")
            plain.remarks.append(f"did not open the attachment {name}")


def _parts(part: MIMEPart) -> Iterator[MIMEPart]:
    """Yield what a message consists of, in order; of alternatives the plainest that says something."""
    if part.get_content_type() == "multipart/alternative":
        leaves = [each for each in part.walk() if isinstance(each, MIMEPart) and not each.is_multipart()]
        said = [each for each in leaves if _is_body(each) and _says_something(each)]
        yield from sorted(said, key=lambda each: each.get_content_subtype() != "plain")[:1]
        yield from (each for each in leaves if not _is_body(each))
    elif part.get_content_maintype() == "multipart":
        for inner in part.iter_parts():
            yield from _parts(inner)
    else:
        yield part


def _is_body(part: MIMEPart) -> bool:
    return (
        part.get_content_type() in ("text/plain", "text/html") and not part.is_attachment() and not part.get_filename()
    )


def _says_something(part: MIMEPart) -> bool:
    content = part.get_payload(decode=True)
    return isinstance(content, bytes) and bool(content.strip())


def _add_body(plain: PlainText, part: MIMEPart) -> None:
    add = add_html if part.get_content_subtype() == "html" else add_text
    add(plain, _text(part, plain))


def _header(message: MIMEPart, name: str) -> str:
    try:
        return str(message[name] or "")
    except (MessageError, ValueError, IndexError, AttributeError):
        # Its parsers give up on what spam sends; the line as it stands is still readable.
        return str(dict(message.raw_items()).get(name, ""))


def _text(part: MIMEPart, plain: PlainText) -> str:
    content = part.get_payload(decode=True)
    charset = part.get_content_charset() or ""
    if not isinstance(content, bytes):
        return ""
    try:
        return decode(content, plain, declared=charset)
    except DataError:
        return decode(content, plain)
