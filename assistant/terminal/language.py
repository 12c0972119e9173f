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
    "searching": "搜索参数",
    "best": "最佳",
    "rejected": "淘汰",
    "loss": "损失",
    "tokens/s": "词元/秒",
    "left": "剩余",
    "validation loss": "验证损失",
    "augmenting": "扩充样本",
    "trying a few examples": "试写几个样本",
    "importing": "导入",
    "calls/s": "调用/秒",
    "tokens": "词元",
    "cost": "费用",
    # the list of adapters
    "adapter": "适配器",
    "base": "基础模型",
    "method": "方法",
    "examples": "样本",
    "steps": "步数",
    "evaluation": "评测",
    "newest": "最新",
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
    # what was found
    "The documents answer this with a probability of {share}.": "文档能回答此问题的概率为 {share}。",
    "Nothing was found.": "没有找到任何内容。",
    "Also searched": "另外检索了",
    "{n} more say the same and are not shown.": "另有 {n} 个段落内容相同，未显示。",
    "{n} more did not fit: {documents}": "另有 {n} 个段落超出词元上限：{documents}",
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
    # the forecast of a pilot, and the life of a record
    "Pilot": "试写",
    "{pilot_kept} examples kept of {pilot_calls} calls": "{pilot_calls} 次调用得到 {pilot_kept} 个样本",
    "{requested} examples by {teacher}": "{requested} 个样本，教师模型 {teacher}",
    "share_kept": "保留比例",
    "calls": "调用次数",
    "cost_usd": "费用",
    "minutes": "分钟",
    "For example:": "例如：",
    "Call": "调用",
    # the plan of a training run
    "Time, at most": "最长用时",
    "Memory": "内存",
    "Data": "数据",
    "Machine": "机器",
    "choices": "选择",
    "data guard": "数据检查",
    "record {number}, {tokens} tokens": "第 {number} 条记录，{tokens} 个词元",
    "green is what is learnt; the rest is only shown": "绿色部分会被学习，其余只作展示",
    # review of records
    "accept": "接受",
    "reject": "拒绝",
    "edit": "编辑",
    "skip": "跳过",
    "undo": "撤销",
    "rule": "规则",
    "passage": "段落",
    "quit": "退出",
    "help": "帮助",
    "it is good as it is": "样本没有问题",
    "it is to be dropped; a reason is asked for": "丢弃该样本，并询问理由",
    "put the question and the answer right": "修改问题和回答",
    "leave it for another time": "留待以后处理",
    "take back the last decision, or all that a rule decided": "撤销上一个决定，或一条规则作出的全部决定",
    "decide many at once by a rule": "用一条规则批量决定",
    "show the whole passage": "显示完整段落",
    "end; every decision is kept": "结束；所有决定都会保留",
    "What was being typed here is kept: go on with it by the same key.": "上次在这里输入的内容已保留：按同一个键继续。",
    "Why? (may be empty)": "理由？（可以留空）",
    "An empty line leaves a text as it is.": "留空则保持原文。",
    "Enter keeps it, Alt-Enter begins a new line, Ctrl-C leaves it as it was.": (
        "Enter 保存，Alt-Enter 换行，Ctrl-C 放弃修改。"
    ),
    "Question": "问题",
    "Answer": "回答",
    "Worse answer": "较差的回答",
    "System": "系统",
    "User": "用户",
    "Assistant": "助手",
    "Not kept": "未保存",
    "Nothing was changed.": "没有任何改动。",
    "There is nothing to undo.": "没有可撤销的决定。",
    "undone: {count}": "已撤销：{count}",
    "Rule": "规则",
    "{count} of {total} records": "共 {total} 条记录，涉及 {count} 条",
    "decided by the rule: {count}": "规则已决定：{count}",
    "Any key goes on. ": "按任意键继续。",
    "{count} accepted": "接受 {count}",
    "{count} rejected": "拒绝 {count}",
    "{count} edited": "编辑 {count}",
    "{accepted} accepted, {edited} edited, {rejected} rejected, {undecided} undecided.": (
        "接受 {accepted}，编辑 {edited}，拒绝 {rejected}，未决定 {undecided}。"
    ),
    "They take effect with: assistant data curate {dataset}": "运行以下命令使其生效：assistant data curate {dataset}",
    "Left as it was.": "未作改动。",
    "That was the last one. u takes the last decision back, q ends. ": "已是最后一条。u 撤销上一个决定，q 结束。",
    "accepted": "已接受",
    "edited": "已编辑",
    "skipped": "已跳过",
    "grounded": "有引文",
    "unanswerable": "无法回答",
    "false premise": "错误前提",
    "instruction": "指令",
    "conversation": "对话",
    "classification": "分类",
    "spans": "标注",
    "preference": "偏好",
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
