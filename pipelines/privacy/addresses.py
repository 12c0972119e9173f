"""E-mail, IP and MAC addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from pipelines.privacy.cues import Cue, cue_before
from pipelines.privacy.kinds import Span, compact

_LETTER = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_LABEL = f"[{_LETTER}0-9](?:[{_LETTER}0-9-]{{0,61}}[{_LETTER}0-9])?"
_EMAIL = re.compile(
    f"(?<![{_LETTER}0-9._%+@/-])(?P<local>[{_LETTER}0-9_](?:[{_LETTER}0-9._%+'’-]{{0,62}}[{_LETTER}0-9_+-])?)"
    rf"(?P<at>@|\s?[\[({{]\s?(?:at|AT)\s?[\])}}]\s?)"
    rf"(?P<domain>(?:{_LABEL}(?:\.|\s?[\[({{]\s?(?:dot|DOT)\s?[\])}}]\s?)){{1,8}}(?P<top>[A-Za-z]{{2,24}}))"
    f"(?![{_LETTER}0-9@])(?!-[A-Za-z0-9])"
)
# The last label of a file's or a unit's name, which no domain ends in.
_NO_DOMAIN = re.compile(
    "png|jpe?g|gif|svg|webp|ico|css|js|ts|json|py|html?|xml|pdf|txt|md|csv|ya?ml|toml|zip|tar|gz|whl|jar"
    "|service|socket|timer|target|mount|slice",
    re.IGNORECASE,
)
_REMOTE = re.compile(r":[\w.~-]+/", re.ASCII)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IP4 = re.compile(rf"(?<![A-Za-z0-9_.-])({_OCTET}(?:\.{_OCTET}){{3}})(?P<mask>/\d{{1,2}})?(?![\w]|\.\d|-\w)", re.ASCII)
_IP6 = re.compile(r"(?<![\w.])(?=[0-9a-f:]*:[0-9a-f]*:)[0-9a-f:]{6,45}(?<!:)(?![\w:]|\.\d)", re.IGNORECASE | re.ASCII)
_MAC = re.compile(
    # A colon before it may end a label, or a pair of a longer row.
    r"(?<![\w.-])(?<!\b[0-9a-f]{2}:)(?:[0-9a-f]{2}(?P<mark>[:-])(?:[0-9a-f]{2}(?P=mark)){4}[0-9a-f]{2}|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4})"
    r"(?![\w]|[:.-]\w)",
    re.IGNORECASE | re.ASCII,
)
_NUMBERED = re.compile(r"(?:^|\n)\s*$")
_MOST_LIKE_VERSIONS = (20, 40, 40)


def find_emails(text: str) -> Iterator[Span]:
    """Yield e-mail addresses, also those written with (at) and (dot)."""
    for match in _EMAIL.finditer(text):
        if _NO_DOMAIN.fullmatch(match["top"]):
            continue
        if match["local"] == "git" and _REMOTE.match(text, match.end()):
            continue
        yield match.span()


def find_ips(text: str) -> Iterator[Span]:
    """Yield IP addresses of hosts; not loopback, masks, whole networks, or what counts versions or sections."""
    for match in _IP4.finditer(text):
        if _is_host(match[1], match["mask"] or "") and not _is_version(text, match.start(), match.end(1)):
            yield match.span(1)
    for match in _IP6.finditer(text):
        if _is_host(match.group(), ""):
            yield match.span()


def find_macs(text: str) -> Iterator[Span]:
    """Yield the hardware addresses of network devices."""
    for match in _MAC.finditer(text):
        digits = compact(match.group().replace(":", "")).lower()
        is_one_device = len(set(digits)) > 1
        if is_one_device and (match["mark"] or not digits.isdigit()):
            yield match.span()


def _is_host(written: str, mask: str) -> bool:
    try:
        address = ipaddress.ip_address(written)
        if mask and address == ipaddress.ip_network(written + mask, strict=False).network_address:
            return mask in ("/32", "/128")
    except ValueError:
        return False
    is_mask = written.startswith("255.")
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or is_mask)


def _is_version(text: str, start: int, end: int) -> bool:
    cue = cue_before(text, start)
    if cue is Cue.ADDRESS or text[:start].endswith(("@", "://")) or re.match(r":\d{2,5}\b", text[end : end + 6]):
        return False
    if cue in (Cue.VERSION, Cue.REFERENCE):
        return True
    # 9.2.1.4 is far more often a version or a section than the address of a host.
    parts = [int(part) for part in text[start:end].split(".")]
    looks = parts[0] != 10 and all(part < most for part, most in zip(parts, _MOST_LIKE_VERSIONS, strict=False))
    is_heading = bool(_NUMBERED.search(text[:start])) and bool(re.match(r" +[A-Z\u4e00-\u9fff]", text[end : end + 4]))
    return looks or (is_heading and max(parts) < _MOST_LIKE_VERSIONS[0])
