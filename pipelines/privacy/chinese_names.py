"""Names of persons, in Chinese text: a common surname where a label, an address or a greeting proves it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipelines.privacy.kinds import Span

_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔"
    "汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳欧管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳穆农司卓吉缪芦麦褚娄窦戚"
    "岑景党宫费卜冷晏席卫米柏宗瞿桂佟臧闵苟邬边卞姬师仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝萧阎傅"
)
_COMPOUND = "欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|慕容|司徒|令狐|夏侯|轩辕|端木|南宫|独孤|长孙|宇文"
_HAN = "\u4e00-\u9fff"
_SURNAME = f"(?:{_COMPOUND}|[{_SURNAMES}])"
# A letter of a given name is none of the little words that stand between others.
_GIVEN = f"(?![的了是在和与及或这那有要就都不也很我你他她您们请到给把被对为])[{_HAN}]"
_FULL = f"{_SURNAME}(?:{_GIVEN}){{1,2}}"
_LABEL = (
    "姓名|名字|联系人|负责人|收件人|寄件人|发件人|收货人|申请人|经办人|承办人|户名|签名|签字|法定代表人|法人|审批人|患者|乘客|员工|学员|教练"
    "|代理人|委托人|持卡人|持证人|开户人|租车人|被保险人|投保人|监护人|报告人|作者|讲师|店长|经理"
)
_BOUNDARY = f"(?![{_HAN}])"
_FOLLOWED = f"(?=$|[^{_HAN}]|先生|女士|小姐|老师|同学|的|身份|电话|手机|已|于|和|与|及)"
_HONORIFIC = "(?:先生(?![成产效])|女士|小姐|太太|夫人|老师|教授|医生|师傅|同学|博士)"
# Words that begin with a surname's character, of what stands before 老师 or after a label.
_NOT_A_NAME = re.compile(
    "成功|成立|关联|关键|关闭|高级|高个|单身|任课|任何|马上|黄金|白天|金牌|王牌|全体|全部|全职|全国|成为|应当|应该|明天|明确|时间|方便|安全|安排|关于|文件|文字|单位|简单|连接|连续|路过"
    "|包括|管理|解决|解释|和我|和你|和他|向我|与|向您|毕业|高中|高校|成人|成年|温馨|华语|古典|麻烦|米其林|游客|师范|商店|商务|房东|房客|阳光"
    "|景区|石油|万一|严禁|严格|广大|常见|项目|席位|易|尚未|尚无|暂无|宁可|车主|车队|农民|明星|平台|方式|方面|应由|时请|全名|成员|段落|金额"
)
_PROVED = (
    re.compile(f"(?:{_LABEL})[:为是] ?(?P<name>{_FULL}){_BOUNDARY}"),
    re.compile(f"(?:{_LABEL})[:为是]? ?(?P<name>{_FULL}){_FOLLOWED}"),
    re.compile(f"(?:我叫|我是|本人|名叫)(?P<name>{_FULL}){_BOUNDARY}"),
    re.compile(f"(?:此致|敬礼|敬上|祝好|顺祝商祺|谢谢)[!。]?\\s*\\n\\s*(?P<name>{_FULL})(?=\\s*(?:\\n|$|[0-9]))"),
    re.compile(f"(?<![{_HAN}])(?P<name>{_FULL}) ?<(?=[^\\s<>]+@[^\\s<>]+>)"),
)
_ADDRESSED = re.compile(f"(?=(?P<name>{_SURNAME}(?:{_GIVEN}){{0,2}}?){_HONORIFIC})")
_OFFICE = "(?:经理|主任|律师|警官|护士|校长|院长|队长|店长|教练)"
_HONORED = re.compile(f"{_SURNAME}(?:{_HONORIFIC}|{_OFFICE})")
_IN_OFFICE = re.compile(f"(?P<name>{_SURNAME}){_OFFICE}")
_BEFORE_DATA = re.compile(
    f"(?:(?<![{_HAN}])|(?<=客户)|(?<=用户)|(?<=会员)|(?<=学员)|(?<=员工)|(?<=乘客))(?P<name>{_FULL})"
    "(?:[ ,、(:]|的?(?:身份证|电话|手机|联系电话)(?:号码|号)?[:是为]?){1,3}$"
)
_LONGEST = 4


def find_chinese_names(text: str, *, data: Sequence[Span]) -> Iterator[Span]:
    """Yield the names of persons, without 先生 and the like.

    Args:
        text: Where to look.
        data: Telephone and identity numbers: two or three characters before one are a name
            if they begin with a surname.
    """
    proved: set[str] = set()
    for span in [*_after_labels(text), *_before_honorifics(text), *_in_office(text), *_before_data(text, data)]:
        yield span
        if span[1] - span[0] >= 3:
            proved.add(text[span[0] : span[1]])
    for name in proved:
        for match in re.finditer(re.escape(name), text):
            yield match.span()


def _after_labels(text: str) -> Iterator[Span]:
    for form in _PROVED:
        for match in form.finditer(text):
            if _is_name(match["name"]):
                yield match.span("name")


def _before_honorifics(text: str) -> Iterator[Span]:
    taken = -1
    for match in _ADDRESSED.finditer(text):
        # The earliest surname that can reach the honorific opens the name: 王伟先生, not 伟先生.
        if match.start() >= taken and not _NOT_A_NAME.match(text[match.start() : match.start() + _LONGEST]):
            taken = match.end("name")
            yield match.span("name")


def _in_office(text: str) -> Iterator[Span]:
    for match in _IN_OFFICE.finditer(text):
        yield match.span("name")


def _before_data(text: str, data: Sequence[Span]) -> Iterator[Span]:
    for start, _ in data:
        before = max(0, start - 16)
        match = _BEFORE_DATA.search(text[before:start])
        if match and _is_name(match["name"]):
            yield before + match.start("name"), before + match.end("name")


def _is_name(text: str) -> bool:
    # 王女士 and 李经理 are found with their titles, as 王 and 李.
    return not _NOT_A_NAME.match(text) and not _HONORED.fullmatch(text)
