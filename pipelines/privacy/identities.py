"""National identity numbers: by checksum where they have one, else by the words around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stdnum.au import tfn
from stdnum.be import nn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.ch import ssn as ahv
from stdnum.cl import rut
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.dk import cpr
from stdnum.es import dni, nie
from stdnum.exceptions import ValidationError
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.ie import pps
from stdnum.in_ import aadhaar, pan
from stdnum.it import codicefiscale
from stdnum.kr import rrn
from stdnum.mx import curp
from stdnum.nl import bsn
from stdnum.no import fodselsnummer
from stdnum.pl import pesel
from stdnum.pt import nif
from stdnum.se import personnummer
from stdnum.tr import tckimlik
from stdnum.us import itin, ssn
from stdnum.za import idnr as za_id

from pipelines.privacy.cues import Cue, cue_before, sentence_after, sentence_before
from pipelines.privacy.kinds import Span, compact

_REACH = 90
# What can hold a number at all: words with digits, and the letters set apart around them.
_CLUSTER = re.compile(
    r"(?<![!-~])(?:[A-Z]{1,2} )?[!-~]*\d[!-~]*(?: [!-~]*\d[!-~]*)*(?: [A-Z](?![A-Z0-9])|(?<=\d) \([\dA]\))?",
    re.IGNORECASE,
)
_FEWEST_CHARACTERS = 8


# The first two digits of a Chinese resident number: the province.
_PROVINCES = re.compile("1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")


def _chinese_resident(number: str) -> bool:
    """Tell a resident number by province, birth date and checksum.

    The library also asks that the county existed in the year of birth, but numbers were given
    out from 1984, with the counties of the day that they were given out.
    """
    try:
        ric.get_birth_date(number)
    except ValidationError:
        return False
    return _PROVINCES.match(number) is not None and ric.calc_check_digit(number) == number[-1].upper()


def _always(number: str) -> bool:
    del number
    return True


@dataclass(frozen=True)
class _Identity:
    """How one country writes its number, how it is checked, and what it is called."""

    form: re.Pattern[str]
    is_valid: Callable[[str], bool]
    called: re.Pattern[str] | None = None  # None: form and checksum are proof enough


def _identity(form: str, is_valid: Callable[[str], bool], called: str = "") -> _Identity:
    return _Identity(
        # A letter of another script may touch it, a letter or digit of ours may not.
        form=re.compile(rf"(?<![\w.-])(?:{form})(?![\w]|[.-]\w)", re.IGNORECASE | re.ASCII),
        is_valid=is_valid,
        called=re.compile(called, re.IGNORECASE | re.ASCII) if called else None,
    )


def _nino(number: str) -> bool:
    return number[:2].upper() not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def _travel(number: str) -> bool:
    digits = sum(letter.isdigit() for letter in number)
    return digits >= 5 or (digits > 0 and len(number) == 9 and number.isupper())


_IDENTITIES = (
    _identity(r"[1-9]\d{5}(?:(?:19|20)\d{9}| (?:19|20)\d{6} \d{3})[\dX]", _chinese_resident),
    _identity(r"[12][ .]?\d\d[ .]?\d\d[ .]?(?:\d\d|2[AB])[ .]?\d{3}[ .]?\d{3}[ .]?\d\d", nir.is_valid),
    _identity(r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", codicefiscale.is_valid),
    _identity(r"\d{3}\.\d{3}\.\d{3}-\d\d", cpf.is_valid),
    _identity(r"\d{6}-[1-8]\d{6}", rrn.is_valid),
    _identity(r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", nn.is_valid),
    _identity(r"756\.\d{4}\.\d{4}\.\d\d", ahv.is_valid),
    _identity(r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d", curp.is_valid),
    _identity(
        r"\d{3}([- ])\d\d\1\d{4}|\d{9}",
        lambda number: ssn.is_valid(number) or itin.is_valid(number),
        r"\bssn\b|social[ -]security|\bss ?(?:#|no\b|number)|\bitin\b|taxpayer|社会安全号|社保号",
    ),
    _identity(r"[A-Z]{2} ?\d\d ?\d\d ?\d\d ?[A-D]", _nino, r"national insurance|\bnino\b|\bni (?:no|number)"),
    _identity(r"\d{3}([ -]?)\d{3}\1\d{4}", nhs.is_valid, r"\bnhs\b"),
    _identity(
        r"\d\d ?\d{3} ?\d{3} ?\d{3}", idnr.is_valid, r"steuer-?(?:id|nummer)|\bidnr\b|\btin\b|tax[ -](?:id|number)"
    ),
    _identity(r"\d{8}-?[A-Z]", dni.is_valid, r"\bdni\b|\bnif\b|documento|identi"),
    _identity(r"[XYZ]-?\d{7}-?[A-Z]", nie.is_valid, r"\bnie\b|\bnif\b|extranjero|foreigner|identi"),
    _identity(r"\d{9}|\d{4}\.\d\d\.\d{3}", bsn.is_valid, r"\bbsn\b|burgerservice|sofi"),
    _identity(r"\d{11}", pesel.is_valid, r"\bpesel\b"),
    _identity(r"\d{11}", cpf.is_valid, r"\bcpf\b"),
    _identity(r"\d{13}", rrn.is_valid, r"resident registration|\brrn\b|주민등록"),
    _identity(r"(?:19|20)?\d{6}[-+]?\d{4}", personnummer.is_valid, r"person(?:al )?n(?:ummer|umber)|\bpnr\b"),
    _identity(r"\d{3}([ -]?)\d{3}\1\d{3}", sin.is_valid, r"\bsin\b|social insurance"),
    _identity(r"\d{3}([ -]?)\d{3}\1\d{3}", tfn.is_valid, r"\btfn\b|tax file"),
    _identity(r"\d{4}([ -]?)\d{4}\1\d{4}", aadhaar.is_valid, r"aadha+r|\buidai?\b"),
    _identity(r"[A-Z]{5}\d{4}[A-Z]", pan.is_valid, r"\bpan\b|permanent account"),
    _identity(r"\d{6}-?\d{4}", cpr.is_valid, r"\bcpr\b"),
    _identity(r"\d{6} ?\d{5}", fodselsnummer.is_valid, r"f[øo]dselsnummer|personnummer"),
    _identity(r"\d{6}[-+A]\d{3}[A-Z0-9]", hetu.is_valid, r"hetu|henkil"),
    _identity(r"\d{7}[A-W][ABHWTX]?", pps.is_valid, r"\bppsn?\b"),
    _identity(r"\d{3} ?\d{3} ?\d{3}", nif.is_valid, r"\bnif\b|contribuinte"),
    _identity(r"\d{11}", tckimlik.is_valid, r"\btckn\b|kimlik"),
    _identity(r"\d{13}|\d{6} \d{4} \d{3}", za_id.is_valid, r"south african id|\brsa id|\bid (?:no|number)"),
    _identity(r"\d{1,2}\.?\d{3}\.?\d{3}-[\dK]", rut.is_valid, r"\brut\b|\brun\b"),
    _identity(r"[A-Z]\d{6} ?\([\dA]\)|[A-Z]\d{6}[\dA]", _always, r"\bhkid\b|hong kong id|香港身份证|身份證"),
    _identity(r"[A-Z][1289]\d{8}", _always, r"身分證|taiwan id"),
)
# What has neither form nor checksum of its own follows its name at once.
_ANNOUNCED = re.compile(
    r"(?:\bpassport|\breisepass|\bpasseport|\bpasaporte|\bdriv(?:er|ing)(?:['’]?s)? licen[cs]e|\bführerschein"
    r"|\bidentity card|\bpersonalausweis|\bresidence permit|护照|驾驶证|驾照|通行证|军官证|居留证)"
    r"\s*(?:numbers?|no|nr|nummer|num|id|号码|号)?\.?\s*(?:#|:|is|was|=|为|是)?\s*"
    r"(?P<number>[A-Z0-9]{6,18})(?![A-Z0-9_-])",
    re.IGNORECASE,
)


def find_national_ids(text: str) -> Iterator[Span]:
    """Yield national identity and tax numbers of persons, passports and driving licences."""
    for cluster in _CLUSTER.finditer(text):
        if cluster.end() - cluster.start() < _FEWEST_CHARACTERS:
            continue
        for identity in _IDENTITIES:
            for match in identity.form.finditer(text, *cluster.span()):
                if identity.is_valid(compact(match.group())) and _is_meant(identity, text, match.span()):
                    yield match.span()
    for match in _ANNOUNCED.finditer(text):
        if match["number"].isascii() and _travel(match["number"]):
            yield match.span("number")


def _is_meant(identity: _Identity, text: str, span: Span) -> bool:
    if identity.called is None:
        return True
    start, end = span
    if identity.called.search(sentence_before(text, start, reach=_REACH)):
        return cue_before(text, start) is not Cue.PHONE
    return bool(identity.called.search(sentence_after(text, end, reach=_REACH // 3)))
