"""The interface in English and Chinese: the English text is the key of its translation."""

from __future__ import annotations

import os
from typing import Literal

InterfaceLanguage = Literal["en", "zh"]

_CHINESE = {
    # stages
    "reading documents": "读取文档",
    "indexing": "建立索引",
    "writing notes": "撰写资料",
    "writing examples": "编写样本",
    "training": "训练",
    "evaluating base": "评测基础模型",
    "evaluating few-shot": "评测少样本提示",
    "evaluating tuned": "评测微调模型",
    # details of progress
    "rejected": "淘汰",
    "loss": "损失",
    "tokens/s": "词元/秒",
    "left": "剩余",
    "validation loss": "验证损失",
    # approval
    "It will": "将要执行",
    "Time": "时间",
    "Calls to the teacher": "教师模型调用",
    "Cost": "费用",
    "Replaces": "将替换",
    "about {low} to {high} minutes": "约 {low} 到 {high} 分钟",
    "under a minute": "不到一分钟",
    "none": "无",
    "unknown, no price is set": "未知（未设置价格）",
    "about ${cost}": "约 ${cost}",
    "Go ahead?": "是否继续？",
    "Not approved; nothing was done.": "未获同意，没有执行任何操作。",
    # errors
    "Error": "错误",
    "What to do": "怎么办",
    "Note": "提示",
    "Stopped. Run the same command again to go on from here.": "已停止。再次运行同一命令即可从这里继续。",
    # answers and chat
    "Sources": "出处",
    "page {page}": "第 {page} 页",
    "The closest passage is in": "最接近的段落在",
    "You": "你",
    "Talking with {bot}. Ctrl-C stops an answer, Ctrl-D or /quit ends the chat, /help lists commands.": (
        "正在与 {bot} 对话。Ctrl-C 停止回答，Ctrl-D 或 /quit 结束对话，/help 列出命令。"
    ),
    "The answer was stopped.": "回答已停止。",
    "Commands": "命令",
    "show the passages behind the last answer": "显示上一个回答所依据的段落",
    "forget the conversation so far": "忘记到目前为止的对话",
    "show this list": "显示本列表",
    "end the chat": "结束对话",
    "Good-bye.": "再见。",
    # the report of a build
    "Index": "索引",
    "{documents} documents, {chunks} chunks": "{documents} 个文档，{chunks} 个段落",
    "Dataset": "数据集",
    "{kept} examples by {teacher}": "{kept} 个样本，教师模型 {teacher}",
    "Rejected": "淘汰",
    "Training": "训练",
    "{steps} steps, {seconds} s": "{steps} 步，{seconds} 秒",
    "Quote F1": "引文 F1",
    "base {base:.2f}, base with examples {few_shot:.2f}, tuned {tuned:.2f} ({n} held-out questions)": (
        "基础模型 {base:.2f}，少样本 {few_shot:.2f}，微调后 {tuned:.2f}（{n} 个留出问题）"
    ),
    "Difference": "差异",
    "Talk with it: assistant bot chat {bot}": "开始对话：assistant bot chat {bot}",
    # agent
    "No model is set for the agent, so it only maps plain requests to commands.": (
        "没有为助手设置模型，因此它只能把简单的请求对应到命令。"
    ),
    "Set ASSISTANT_AGENT_URL and ASSISTANT_AGENT_MODEL to talk freely.": (
        "设置 ASSISTANT_AGENT_URL 和 ASSISTANT_AGENT_MODEL 后即可自由对话。"
    ),
    "This command does it:": "对应的命令是：",
    "Run it?": "要运行吗？",
    "I did not understand that. For example:": "我没有听懂。例如：",
    "uses the tool": "使用工具",
}


def detect_language(setting: str) -> InterfaceLanguage:
    """Return the language of the interface: as set, or as the environment says."""
    if setting in ("en", "zh"):
        return "zh" if setting == "zh" else "en"
    environment = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "zh" if environment.lower().startswith("zh") else "en"


def translate(text: str, language: InterfaceLanguage, **values: object) -> str:
    """Return `text` in the language of the interface, with its values put in."""
    found = _CHINESE.get(text, text) if language == "zh" else text
    # Without values nothing is to be put in, and a message may hold braces of its own.
    return found.format(**values) if values else found
