"""Names of persons, in English text, where the words around them prove that they are one.

There is no list of given names and no model: a title, a label, a greeting, the end of a
letter or an e-mail address makes the capitalised words beside it a name. A name of two
words that was proved once is found wherever else it stands in the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.privacy.kinds import Span

_CAPITAL, _SMALL = "A-Z\u00c0-\u00d6\u00d8-\u00de", "a-z\u00df-\u00f6\u00f8-\u017f"
_WORD = rf"(?:[DO]['’])?(?:Mc|Mac)?[{_CAPITAL}][{_SMALL}]+(?:-[{_CAPITAL}][{_SMALL}]+)?"
_LINK = rf"(?:[{_CAPITAL}]\.|van der|van den|van|von|de la|de|del|della|den|der|di|da|dos|la|le|bin|al|el|zu)"
_FULL = rf"(?:{_LINK} ?){{0,3}}{_WORD}(?: (?:{_LINK} ){{0,2}}{_WORD}){{1,3}}"
_ANY = rf"(?:{_LINK} ?){{0,3}}{_WORD}(?: (?:{_LINK} ){{0,2}}{_WORD}){{0,3}}"
_TITLE = r"(?:Mrs|Mr|Ms|Miss|Mx|Dr|Prof|Professor|Doctor|Sir|Dame|Herrn?|Frau|Monsieur|Madame|Mme|Se[ñn]ora?|Sra?)\b\.?"
_LABEL = (
    r"(?i:(?:(?:full|customer|client|account|contact|employee|patient) )?name|(?:emergency )?contact(?: person)?"
    r"|attn|attention|customer|client|patient|applicant|employee|tenant|recipient|sender|signed(?: by)?|prepared by"
    r"|reviewed by|author|card ?holder|account holder|manager|instructor|supervisor|reported by|assigned to"
    r"|from|to|b?cc)"
)
_NOT_A_NAME = re.compile(
    "The|This|That|Your|Our|All|Sir|Sirs|Madam|Customer|Customers|Client|Clients|Team|Support|Service"
    "|Services|Sales|Department|Office|Desk|Staff|Colleague|Colleagues|Friend|Friends|Neighbour"
    "|Neighbours|Neighbor|Neighbors|Reader|Readers|Guest|Guests|Member|Members|Parent|Parents|Student"
    "|Students|Manager|Managers|Hiring|Human|Resources|Everyone|Everybody|Folks|There|World|Standard"
    "|Tariff|Invoice|Order|Template|Company|Limited|Ltd|Inc|Group|Bank|Street|Road|Avenue|Branch|Centre"
    "|Center|School|University|College|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|January"
    "|February|March|April|June|July|August|September|October|November|December|To|From|See|Please|Thank"
    "|Thanks|Who|Which|None|Unknown|Example|Help|Info|Information|Front|Reception|Committee|Board|Council"
    "|Pepper|Right|Universe|Emeritus|Mayor|Fix|Administrator|Admin|Operations|Accounts|Billing|Security|President|Chairman|Speaker|Minister"
)
_PROVED = tuple(
    re.compile(form)
    for form in (
        rf"\b{_TITLE}(?: (?:and|&) {_TITLE})?(?: {_TITLE}){{0,2}} (?P<name>{_ANY})",
        rf"(?:^|[\n|{{(\"';,.] ?)(?:{_LABEL})\"?\s?:\s{{0,3}}\"?(?P<name>{_FULL})(?![\w@])",
        rf"\b(?:[Pp]atient|[Aa]pplicant|[Tt]enant|[Ee]mployee),? (?P<name>{_FULL})(?=[,.;(]|$)",
        rf"\b(?:First|Last|Given|Family|Sur|Fore) ?name\s?:\s{{0,3}}(?P<name>{_ANY})",
        rf"(?:^|\n)(?:Dear|Hi|Hello|Hey)(?: {_TITLE})? (?P<name>{_ANY})(?=\s*[,:!\n]|\s*$)",
        rf"\b(?:[Rr]egards|[Ss]incerely|[Ff]aithfully|[Tt]ruly|[Ww]ishes|Cheers|Thanks|Best|Thank you)"
        rf",?\s*\n\s*(?P<name>{_ANY})(?=\s*(?:,|\n|$))",
        rf"(?<![\w.])\"?(?P<name>{_ANY})\"? ?<(?=[^\s<>]+@[^\s<>]+>)",
        rf"(?<![\w.])(?P<name>{_FULL}) ?\((?=[^\s()]+@[^\s()]+\))",
        rf"\b[Mm]y name is (?P<name>{_ANY})",
        rf"\b(?:I am called|[Tt]his is|[Ss]poke (?:to|with)|[Aa]sk for) (?P<name>{_FULL})",
    )
)


def find_names(text: str) -> Iterator[Span]:
    """Yield the names of persons, without their titles."""
    proved: set[str] = set()
    for form in _PROVED:
        for match in form.finditer(text):
            name = _without_strangers(match["name"])
            if name:
                yield match.start("name"), match.start("name") + len(name)
                if " " in name:
                    proved.add(name)
    for name in proved:
        for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            yield match.span()


def _without_strangers(name: str) -> str:
    """Cut `name` before the first word that belongs to no name; empty if that is the first."""
    kept: list[str] = []
    for word in name.split(" "):
        if _NOT_A_NAME.fullmatch(word.partition("-")[0]):
            break
        kept.append(word)
    return " ".join(kept)
