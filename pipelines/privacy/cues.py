"""The words around a number that tell what it is."""

from __future__ import annotations

import re
from enum import StrEnum

_REACH = 48


class Cue(StrEnum):
    """What the nearest telling word before a number announces."""

    PHONE = "phone"
    CARD = "card"
    ACCOUNT = "account"
    ADDRESS = "address"
    VERSION = "version"
    REFERENCE = "reference"


_WORDS = {
    Cue.PHONE: r"\b(?:tele)?phones?\b|\btel\b|\bph\b|\b(?:tele)?fax\b|\bmob(?:ile)?\b|\bcell(?:phone)?\b|\bdial\b"
    r"|\bcall(?:ed|ing|s)?\b|\bring\b|\bhotline\b|\bhelpline\b|\bwhatsapp\b|\btext\b|\bsms\b|\bcontact\b"
    r"|\breach(?:ed)?\b|\bdesk\b|\btelefon\b|\bhandy\b|\bmobil\b|\brufnummer\b|t[ée]l[ée]phone\b|\bt[ée]l\b"
    r"|\bportable\b|tel[ée]fono\b|m[óo]vil\b"
    r"|电话|手机|致电|拨打|联系|座机|热线|传真|短信|微信|来电|呼叫|号码是|发送至|发送到|发至|发到",
    Cue.CARD: r"\b(?:credit|debit|bank|payment|visa|master|amex)[ -]?card\b|\bcard\b|\bvisa\b|\bmastercard\b|\bamex\b"
    r"|银行卡|信用卡|借记卡|储蓄卡|工资卡|卡号",
    Cue.ACCOUNT: r"\b(?:bank )?account (?:number|no\b\.?|nr\b\.?|#)|\bacc(?:oun)?t\.? (?:number|no\b\.?|#)"
    r"|\bkontonummer\b|账号|帐号|银行账户|收款账户|对公账户",
    Cue.ADDRESS: r"\bip(?:v4|v6)?\b|\baddress(?:es)?\b|\bhosts?\b|\bserver\b|\bclients?\b|\bping\b|\bssh\b|\bgateway\b"
    r"|\bdns\b|\b(?:login|connected|listening|resolved|logged in)\b|地址|服务器|客户端|主机|来自|网关|登录|访问",
    Cue.VERSION: r"\bversions?\b|\bver\b|(?<![a-z])v\.?$|\breleases?d?\b|\bfirmware\b|\bbuilds?\b|\bdrivers?\b"
    r"|\bpatch\b|\b(?:up|down)grad(?:e|ed|es|ing)\b|\bupdat(?:e|ed|es|ing)\b|\bsections?\b|\bclauses?\b|\bchapters?\b|\bparagraphs?\b"
    r"|\bappendix\b|\btables?\b|\bfigures?\b|\brequires?\b|\binstall(?:ed)?\b|§|=="
    r"|版本|固件|升级|更新|参见|章节|条款|第",
    Cue.REFERENCE: r"\borders?\b|\binvoices?\b|\breceipts?\b|\bpurchase\b|\bref(?:erence)?\b|\bcase\b|\btickets?\b"
    r"|\btracking\b|\bparcels?\b|\bshipments?\b|\bparts?\b|\barticles?\b|\bitems?\b|\bproducts?\b|\bsku\b|\bmodels?\b"
    r"|\bserial\b|\bs/?n\b|\bisbn\b|\bissn\b|\bean\b|\bupc\b|\bbarcode\b|\bimei\b|\bdoi\b|\barxiv\b|\bcommit\b"
    r"|\bchecksum\b|\btimestamp\b|\bepoch\b|\blot\b|\bbatch\b|\btransaction\b|\bid\b|\bvat\b|\bcatalog(?:ue)?\b"
    r"|\bcontract\b|\bpolicy\b|\bmembership\b|\bcustomer (?:number|no\b\.?)|\bflight\b|\bpatent\b|\bvin\b"
    r"|订单|单号|编号|流水|序列|型号|货号|条码|条形码|发票|备案|信用代码|税号|工单|运单|物流|快递|零件|配件|机身"
    r"|车架|合同|批号|坐标|时间戳|交易|商品|书号|股票|车次|邮编|邮政编码|验证码",
}
_CUE = re.compile("|".join(f"(?P<{cue}>{words})" for cue, words in _WORDS.items()), re.IGNORECASE | re.ASCII)
_SENTENCE_END = re.compile(r"[\n。!?;|]|\.\s+(?=[A-Z])")
# `part 12-34 or 56-78`: what is said of the first number holds for the second. The group is
# atomic, since a list of numbers that ends in something else would be tried in every way.
_LISTED = re.compile(r"(?:(?>[\w.-]*\d[\w.-]*)\s*(?:,|/|&|、|和|或|及|至|到|\b(?:and|or|to)\b)\s*)+[a-z]?$", re.ASCII)
_LAST_NUMBER = re.compile(r".*\d", re.DOTALL)


def sentence_before(text: str, start: int, *, reach: int = _REACH) -> str:
    """Return what stands before `start` in its sentence, at most `reach` characters."""
    before = text[max(0, start - reach) : start]
    ends = [match.end() for match in _SENTENCE_END.finditer(before)]
    return before[ends[-1] :] if ends else before


def sentence_after(text: str, end: int, *, reach: int = _REACH) -> str:
    """Return what stands behind `end` in its sentence, at most `reach` characters."""
    after = text[end : end + reach]
    found = _SENTENCE_END.search(after)
    return after[: found.start()] if found else after


def cue_before(text: str, start: int) -> Cue | None:
    """Return what the last telling word before `start` announces; another number in between uses it up."""
    before = _LISTED.sub("", sentence_before(text, start))
    before = _LAST_NUMBER.sub("", before)
    found = None
    for match in _CUE.finditer(before):
        found = match.lastgroup
    return Cue(found) if found else None
