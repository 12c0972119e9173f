"""The phrases by which the form of a text gives its writer away, in English and Chinese.

They are measured on documents and questions that people wrote: a phrase that people use too
is not listed, or only where it stands at the beginning.
"""

from __future__ import annotations

import re


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.MULTILINE)


_TEXT = r"(?:passage|text|document|excerpt|paragraph|sentence|article|context|snippet)s?"
_SAYS = r"(?:say|state|mention|describe|explain|suggest|discuss|imply|refer to|indicate)"
_TEXT_ZH = "(?:文档|文章|短文|段落|原文(?!件)|文本|材料|上下文)"
_AI = r"(?:ai|artificial intelligence|(?:large )?language model)"
_AI_ZH = "(?:ai|人工智能|大?型?语言模型|大模型|智能助手|聊天机器人)"

# The reader of a question has not seen the passage; neither it nor the answer may speak of it.
POINTS_AT_PASSAGE = _any(
    r"\b(?:the|this|that) (?:(?:given|above|following|provided) )?(?:passage|excerpt|snippet)"
    r"(?! (?:of|to|from|through|between|into|across|by|in|on)\b)\b",
    rf"\b(?:the )?(?:given|above|provided|aforementioned) {_TEXT}\b",
    r"\bthis (?:text|document|paragraph|sentence|article|passage)\b",
    rf"\b(?:according to|based on|as per) (?:the|this|that) (?:author|{_TEXT})\b|\baccording to the fact\b",
    rf"\b(?:mentioned|described|stated|discussed|listed|provided|cited|referred to) (?:in|by) (?:the|this) {_TEXT}\b",
    r"\bin the (?:text|paragraph|passage)(?=[,?.]|$)",
    rf"\bis (?:the|this) {_TEXT} about\b",
    rf"\b(?:main|central|key) (?:topic|idea|theme|point|focus|subject|purpose) of (?:the|this) {_TEXT}\b",
    rf"\b(?:does|did) the (?:author|{_TEXT}) {_SAYS}\b",
    rf"\bthe (?:passage|text|document|excerpt|paragraph|article|author) (?:{_SAYS}s|does not|doesn't)\b",
    r"\b(?:mentioned|described|stated|listed) (?:above|here|earlier)\b",
    # Not 文本文件, 样本文, 脚本文件, and not 中文中, 论文中, 上下文中.
    "(?<![文脚样版])本文(?![件化明学本])",
    "(?<![中英论正作下日法德俄外散诗条译原国古])文中(?=提|所|说|描|介|的|，|,|是|有|指|给)",
    "(?<!.)上文|上文(?=中|提|所|说)",
    "(?<!文)(?:这|该|本|上述|以上)段(?:话|落|文)",
    f"(?:本|该|此|这篇|这份|上述|以上){_TEXT_ZH}",
    f"{_TEXT_ZH}(?:中|里)?(?:有)?(?:提到|所述|所说|说到|指出|提及|没有说|没有提)",
    f"(?:根据|按照|依据)(?:这|给出的|所给|提供的|所提供的)?{_TEXT_ZH}",
)

# What a chat model says of itself.
SPEAKS_OF_ITSELF = _any(
    rf"\bas an? {_AI}(?: (?:language )?(?:model|assistant|chatbot))?,? i\b",
    rf"\bi(?: am|'m) (?:just |only )?an? {_AI}\b",
    r"\bmy (?:training data|knowledge cut-?off)\b",
    r"\bi (?:do not|don't) have (?:personal (?:opinions|experience|feelings)|access to real-time)\b",
    f"(?:作为|身为)(?:一个|一名|一款|您的)?{_AI_ZH}[^。！？]{{0,8}}[，,]?我",
    f"我(?:只)?是(?:一个|一名|一款){_AI_ZH}",
    "我的(?:训练数据|知识截止)",
)

# How a chat model begins, before it comes to the point.
OPENERS = _any(
    r"(?:sure|certainly|absolutely|(?:great|good|excellent) question)\s?[!,.:]",
    r"(?:sure|certainly|of course|absolutely|okay|ok)\b[!,.:]? (?:here|i(?:'d| would| can|'ll| will)|let me|below)\b",
    r"here(?:'s| is| are) (?:the |an? |some |your |my )?(?:\w+ ){0,3}"
    r"(?:answers?|questions?|pairs?|responses?|json|output|rewrite|versions?|paraphrases?)\b[^.!?\n]{0,60}:",
    r"当然(?:可以)?[!！]|没问题[!！]|好的[，,。：:！!]",
    r"(?:当然(?:可以)?|没问题)[，,。：:]?\s?(?:以下|下面|这是|我来)",
    r"(?:以下|下面)是(?:您|你|根据|为|生成|针对|我)",
)

# How a chat model takes its leave.
CLOSERS = _any(
    r"\bhope (?:this|that|it) (?:helps|was helpful|answers)\b",
    r"\blet me know if (?:you|there)\b",
    r"\b(?:please )?feel free to (?:ask|reach out|let me know)\b",
    r"\bis there anything else i can\b",
    r"希望(?:这|以上|上述|我的|能)[^。！!]{0,10}(?:帮助|有用|帮到)",
    r"如(?:果)?(?:您|你)?(?:还)?有(?:任何|其他|更多|什么)?(?:疑问|问题)[^。]{0,8}(?:告诉我|问我|提问|随时)",
)

# How a chat model refuses; judged at the beginning of an answer only.
REFUSALS = _any(
    r"(?:\bsorry|\bapologies|\bi apologi[sz]e|^unfortunately)[^.!?\n]{0,24}\bi"
    r"(?: can(?:not|'t| not)|(?:'m| am) (?:not able|unable)| do(?:n't| not) have)\b",
    r"^(?:[^.!?\n]{0,40}\b)?i(?: can(?:not|'t| not)|(?:'m| am) (?:not able|unable) to| won't| will not)"
    r" (?:help|assist|answer|provide|fulfil|comply|create|generate|discuss|engage)",
    r"(?:抱歉|对不起)[，,]?(?:但)?(?:作为[^。]{0,12})?我(?:无法|不能|没有办法|不会)",
    r"^(?:很|非常)?我?(?:无法|不能)(?:回答|提供|协助|满足|生成|讨论)",
)

# Pieces of a prompt, of a schema or of a chat template.
LEAKS = _any(
    r"""["'“](?:question|answer|quotes?|pairs?|messages?|label|spans?|subtopics?|paragraphs?|instruction)["'”]\s*:""",
    r"</?(?:passages?|documents?|context|question|answer|think|thinking|instructions?)>",
    r"<\|(?:im_start|im_end|endoftext|eot_id|system|user|assistant)[^>\n]*\|>|\[/?INST\]|<</?SYS>>",
    r"\{\{|\}\}|\{%|%\}",
    r"\bjson[_ ]schema\b|(?-i:\b(?:additionalProperties|minLength|maxLength)\b)",
    r"^#* ?(?:instruction|response|assistant|user|system) ?[:：]",
    r"^(?:question|answer) ?\d{1,3}\b|^(?:问题|答案)\s?\d{1,3}[：:]",
)

# What stands in an example of the wanted form, copied as if it were content.
PLACEHOLDER = re.compile(
    r"(?:(?:the )?(?:question|answer|quote)|string|text|placeholder)(?: ?#?\d{1,3})?[.?？]?"
    r"|(?:your|insert(?: the| your)?) (?:question|answer|quote|text|string)(?: (?:goes )?here)?[.?？]?"
    r"|[<\[{][\w ]*\b(?:question|answer|quote|text|string|placeholder)\b[\w ]*[>\]}]"
    r"|(?:问题|答案|回答|引文|示例|文本)\s?[0-9一二三四五]?[?？。]?|lorem ipsum.*|todo|null|undefined|xxx+",
    re.IGNORECASE | re.DOTALL,
)
