"""Questions about a Chinese sentence, by rule: what is asked for stays where the answer stood.

Chinese asks without moving words: "the deposit is 40 euro" becomes "the deposit is how many
euro". So no model is needed to ask for a number, a time, a place, a name, a way or a reason,
where a model small enough for any machine writes no Chinese.

Source:
    Li and Thompson 1981, Mandarin Chinese: A Functional Reference Grammar, chapter 18.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Changes whenever a sentence would be asked about otherwise, as a prompt's name does.
RULES = "interrogatives@1"
_SHORTEST, _LONGEST = 6, 40  # characters of a question
_NUMBER = r"(?<!第)(?:\d[\d,，.]*|[二三四五六七八九十百千万两][零一二三四五六七八九十百千万两]*)\s?[多余]?\s?"
_UNITS = (
    "个小时|小时|分钟|秒钟|个月|个工作日|工作日|星期|公里|千米|毫米|厘米|公斤|千克|欧元|美元|英镑|日元|"
    "人民币|个|名|位|种|条|款|台|辆|间|家|次|项|页|张|份|本|件|套|层|米|克|元|块|度|岁|天|年|周|倍|字节|人"
)
_DAY = "[一二三四五六日天末]"
_QUANTITY = re.compile(f"{_NUMBER}(?P<unit>{_UNITS})")
_SHARE = re.compile(r"\d[\d.]*\s?%|百分之[零一二三四五六七八九十百\d.]+")
_DATE = re.compile(r"\d{4}\s?年(?:\s?\d{1,2}\s?月)?(?:\s?\d{1,2}\s?日)?|\d{1,2}\s?月\s?\d{1,2}\s?日")
_WEEKDAY = re.compile(f"(?:周|星期|礼拜){_DAY}(?:[、和或到至](?:周|星期|礼拜)?{_DAY})*(?![个一二三四五六七八九十])")
_CLOCK = re.compile(
    r"(?:[上下中]午|早上|晚上|凌晨)?(?:\d{1,2}|[一二三四五六七八九十两]{1,3})点(?!击|[^，。]?儿)(?:半|整)?"
)
_PLACE = re.compile(r"(?P<verb>位于|保存在|存放在|安装在|储存在|安装到|放在|记录在|刊登在)\s?[^，。；：]{2,40}$")
_AGENT = re.compile(
    r"(?<!自)由\s?[^，。；：]{2,16}?\s?(?P<verb>负责|维护|开发|编写|提供|制作|承担|支付|决定|创建|发布)(?!者|人|商)"
)
_NAMED = re.compile(r"(?P<verb>叫做|称为|称作|名为|命名为)\s?[^，。；：]{1,24}$")
_DEFINED = re.compile(r"^(?P<what>[^，。；：是]{2,18}?)\s?(?:指的是|是指|是\s?(?:一[个种款台套]|用于|用来|用以))")
_WAY = re.compile(
    r"^(?:(?:如果|若|倘若)(?:您|你)?(?:想要|想|需要|希望|打算|要)|要(?!求|么|是)|欲|为了)"
    r"(?!了解|获得有关|获取更多)(?P<what>[^，。；：]{3,24})，"
)
_CASE = re.compile(r"^(?:如果|若|倘若)(?P<what>[^，。；：]{3,26}?)(?:的话|时)?，")
_REASON = re.compile(
    r"(?:^|[，；：])(?P<what>[^，。；：]{4,24})，(?:这是)?因为"
    r"|^(?:由于|因为)[^，。；]{3,30}，(?:所以|因此)?(?P<then>[^，。；：]{4,24})$"
)
_MODAL = re.compile(
    r"(?P<head>[^，。；：]{2,20}?)不?(?P<modal>可以|能够|必须|需要|应该|应当|允许|支持|会|能)(?P<rest>[^，。；：]{2,20})"
)
# What begins so hangs on words before it, and what says so points at them.
_HANGING = re.compile(
    r"因为|由于|虽然|如果|倘若|当|为了|要|欲|使|让|注意|请|记得|只要|才|以便|从而|并|而|所以|但|不过|例如|比如|另外|"
    r"此外|也|还|又|则|就|即|或|和|与|及|以|位于|名为|称为|称作|叫做|放在|由|多少[天年个]|满|超过|阅读|\["
)
_POINTING = re.compile(r"[它他她这那此其]|该(?!怎么办)|如[下上]|[前后]者|上[述面]|下[述面]")
_CLAUSE = re.compile(r"[，；：]")
_END = "。！!.？? "


def questions_about(sentence: str) -> list[str]:
    """Return questions that a Chinese sentence answers, without doubles; it may be none."""
    whole = sentence.strip(_END)
    found = [*_of_whole(whole)]
    for clause in _CLAUSE.split(whole):
        found += _of_clause(clause.strip())
    asked = (f"{question.strip(_END)}？" for question in found)
    return [each for each in dict.fromkeys(asked) if _SHORTEST <= len(each) <= _LONGEST and _stands_alone(each)]


def _stands_alone(question: str) -> bool:
    asks_case = question.startswith("如果") and question.endswith("该怎么办？")
    return not _POINTING.search(question) and (asks_case or not _HANGING.match(question.removeprefix("为什么")))


def _of_whole(sentence: str) -> Iterator[str]:
    """Yield questions for a way, a case, a reason and a meaning, which are about several clauses."""
    if way := _WAY.match(sentence):
        yield f"怎样{way['what']}"
    elif case := _CASE.match(sentence):
        yield f"如果{case['what']}，该怎么办"
    for reason in _REASON.finditer(sentence):
        yield f"为什么{reason['what'] or reason['then']}"
    if meant := _DEFINED.match(sentence):
        yield f"什么是{' ' * meant['what'][0].isascii()}{meant['what']}"


def _of_clause(clause: str) -> Iterator[str]:
    """Yield questions with an interrogative in the place of what is said, then the one for yes or no."""
    taken: list[range] = []
    for kind, interrogative in (
        (_DATE, "什么时候"),
        (_WEEKDAY, "星期几"),
        (_CLOCK, "几点"),
        (_SHARE, "百分之多少"),
    ):
        for said in kind.finditer(clause):
            taken.append(range(*said.span()))
            yield _replaced(clause, said, interrogative)
    for quantity in _QUANTITY.finditer(clause):
        if not any(quantity.start() in span for span in taken):
            yield _replaced(clause, quantity, f"多少{quantity['unit']}")
    if place := _PLACE.search(clause):
        yield f"{clause[: place.start()]}{place['verb']}哪里"
    if agent := _AGENT.search(clause):
        yield f"{clause[: agent.start()]}由谁{agent['verb']}{clause[agent.end() :]}"
    if named := _NAMED.search(clause):
        yield f"{clause[: named.start()]}{named['verb']}什么"
    if modal := _MODAL.fullmatch(clause):
        yield f"{modal['head']}{modal['modal']}{modal['rest']}吗"


def _replaced(clause: str, said: re.Match[str], interrogative: str) -> str:
    return clause[: said.start()].rstrip() + interrogative + clause[said.end() :].lstrip()
