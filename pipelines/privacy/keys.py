"""Secrets: keys and tokens of known form, private keys, passwords, credentials in a URL."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.privacy.kinds import Span

_KNOWN = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}"  # Amazon
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,}|gl(?:pat|dt|rt|cbt|ptt)-[\w-]{20,}"
    r"|sk-(?:ant-|proj-|svcacct-|or-v1-|lf-)?[\w-]{20,}|[srp]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[\w+/=]{24,}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{20,}|xapp-[A-Za-z0-9-]{20,}|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,}|SG\.[\w-]{16,}\.[\w-]{16,}|key-[0-9a-f]{32}"
    r"|(?:shpat|shpss|dop_v1|doo_v1|gsk|r8|nvapi|tskey|dckr_pat|lin_api|figd|sntrys|pplx|xai|fw|tvly|LTAI)[_-][\w-]{16,}"
    r"|LTAI[A-Za-z0-9]{12,24}|AGE-SECRET-KEY-1[A-Z0-9]{50,}|\d{8,10}:[A-Za-z0-9_-]{35}"
    r"|(?<=[Bb]earer )(?=[^\s\d]*\d)[A-Za-z0-9._~+/-]{20,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"  # JSON Web Token
    r")(?![A-Za-z0-9_-])",
    re.ASCII,
)
_PEM = re.compile(
    r"-----BEGIN (?P<what>[A-Z ]*PRIVATE KEY(?: BLOCK)?)-----(?:.*?-----END (?P=what)-----|[A-Za-z0-9+/=\s]*)",
    re.DOTALL,
)
_HOOK = re.compile(
    r"https://(?:hooks\.slack\.com/(?:services|workflows)|(?:\w+\.)?discord(?:app)?\.com/api/webhooks)/[\w/-]{20,}",
    re.ASCII,
)
_URL = re.compile(
    r"(?<![A-Za-z0-9+.-])[a-z][a-z0-9+.-]{1,20}://(?P<user>[^\s:/@\"'<>]*:(?P<password>[^\s/@\"'<>]+))@", re.IGNORECASE
)
_NAME = (
    r"pass(?:word|wd|phrase|code)|(?<![A-Za-z])(?:pwd|pass|pw)|api[_-]?keys?"
    r"|(?:access|secret|private|auth|encryption|signing|account)[_-]?key|secret|token|credentials?"
)
_PASSWORD = re.compile(r"pass|pwd?|密码|口令", re.IGNORECASE)
_QUOTED_OR_BARE = (
    r"(?:\"(?P<double>[^\"\n]+)\"|'(?P<single>[^'\n]+)'|`(?P<back>[^`\n]+)`|(?P<bare>[^\s\"'`<>,;，；。、)）]+))"
)
_ASSIGNED = re.compile(
    rf"(?P<name>{_NAME})[\"'`]?\s{{0,3}}(?:=>|:=|=|:)\s{{0,3}}(?:(?:bearer|basic|token)\s+)?{_QUOTED_OR_BARE}",
    re.IGNORECASE,
)
_BEARER = re.compile(
    rf"(?<![A-Za-z])(?P<name>authorization)[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token)\s+{_QUOTED_OR_BARE}",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"(?<![A-Za-z])(?P<name>password|passphrase|passcode|secret key|api key|access key|token|pin code)"
    rf" (?:is|was|will be|to)(?: now)?:? {_QUOTED_OR_BARE}",
    re.IGNORECASE,
)
_SAID_IN_CHINESE = re.compile(
    r"(?P<name>密码|口令|密钥|秘钥|令牌|私钥)(?:已?(?:改|设|重置)?(?:是|为|成)|[:= ])\s{0,2}[“「\"'`]?(?P<bare>[!-~]+)"
)
_OPTION = re.compile(
    r"(?:^|\s)(?P<name>--password|--token|--api-key|-p(?=['\"]))[ =]?"
    r"(?:\"(?P<double>[^\"\n]+)\"|'(?P<single>[^'\n]+)'|(?P<bare>[^\s\"'-]\S*))"
)
_STAND_IN = re.compile(
    r"[*•.xX_-]+|<.*|\$.*|%.*|\{\{?.*|\[.*|.*\.\.\.|.*(?:example|changeme|placeholder|redacted|your[_-]|dummy).*"
    r"|none|null|nil|true|false|required|optional|str|string|password\d?|secret|pass|int|bytes",
    re.IGNORECASE | re.DOTALL,
)
_CODE = re.compile(r"[A-Za-z_][\w.]*[(\[].*|(?:os|self|settings|config|env|process|args|request)\.[\w.]+", re.DOTALL)
_SHORTEST_PASSWORD, _SHORTEST_TOKEN = 6, 12


def find_keys(text: str) -> Iterator[Span]:
    """Yield secrets; of an assignment or a URL, the secret alone."""
    for form in (_KNOWN, _PEM, _HOOK):
        for match in form.finditer(text):
            yield match.span()
    for match in _URL.finditer(text):
        if not _STAND_IN.fullmatch(match["password"]):
            yield match.span("user")
    for form in (_ASSIGNED, _BEARER, _SAID, _SAID_IN_CHINESE, _OPTION):
        for match in form.finditer(text):
            yield from _value(match)


def _value(match: re.Match[str]) -> Iterator[Span]:
    groups = match.groupdict()
    written = next(name for name in ("double", "single", "back", "bare") if groups.get(name) is not None)
    start, end = match.span(written)
    value = match[written]
    if written == "bare":
        value = value.rstrip(".,;:?\"'`")
        end = start + len(value)
    if _is_secret(value, match["name"]):
        yield start, end


def _is_secret(value: str, name: str) -> bool:
    """Tell a secret from a stand-in, a piece of code, or a word of prose."""
    if "://" in value or _STAND_IN.fullmatch(value) or _CODE.fullmatch(value) or " " in value or not value.isascii():
        return False
    digits = sum(letter.isdigit() for letter in value)
    letters = sum(letter.isalpha() for letter in value)
    if _PASSWORD.search(name) or name == "-p":
        has_mark = any(letter in "!#$%&*+=?@^~" for letter in value)
        return len(value) >= _SHORTEST_PASSWORD and (digits > 0 or (has_mark and letters > 0))
    return len(value) >= _SHORTEST_TOKEN and digits > 0 and letters > 0
