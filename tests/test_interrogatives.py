"""Questions about Chinese sentences, by rule; what makes no question is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.dataset.generate import GENERATE_DATASET, GenerateParams
from pipelines.dataset.writing.interrogatives import questions_about
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.operation import open_context
from pipelines.records import Example, read_records


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("退税单在单次购物满 75 欧元时办理。", "退税单在单次购物满多少欧元时办理？"),
        ("梅琳在三天之内翻译好所有表格。", "梅琳在多少天之内翻译好所有表格？"),
        ("总店在 2014 年 3 月搬到新址。", "总店在什么时候搬到新址？"),
        ("退税单只在周三和周五办理。", "退税单只在星期几办理？"),
        ("门店上午十点开门，晚上六点关门。", "门店几点开门？"),
        ("折扣一般占总价的百分之二十。", "折扣一般占总价的百分之多少？"),
        ("总店位于 Harrowmere 镇 Tannery Lane 14 号。", "总店位于哪里？"),
        ("租车柜台由 Ines 负责，中文合同用 Z3 表格。", "租车柜台由谁负责？"),
        ("Unstable 永远被称作 Sid。", "Unstable 永远被称作什么？"),
        ("椴树是一种落叶乔木。", "什么是椴树？"),
        ("如果您想退还车辆，请先把车铃拆下来。", "怎样退还车辆？"),
        ("如果遇到大雾，客人可以取消租车。", "如果遇到大雾，该怎么办？"),
        ("合同必须用铅笔签名，因为墨水在雨里会化开。", "为什么合同必须用铅笔签名？"),
        ("店员不会推荐颜色。", "店员会推荐颜色吗？"),
    ],
)
def test_what_is_asked_for_stands_where_the_answer_stood(sentence: str, question: str) -> None:
    """The first question is the one that tells most."""
    assert questions_about(sentence)[0] == question


@pytest.mark.parametrize(
    "sentence",
    [
        "打包时轮胎要打足气。",  # nothing to ask for
        "它可以免费寄存。",  # points at what was said before
        "因为墨水在雨里会化开。",  # hangs on another clause
        "这是第二个版本。",  # an ordinal is no quantity
        "自由软件决定自由。",  # 由 is part of a word
        "",
    ],
)
def test_what_makes_no_whole_question_is_left_alone(sentence: str) -> None:
    """No question is better than half of one."""
    assert questions_about(sentence) == []


def test_the_embedded_teacher_asks_about_chinese_documents(tmp_path: Path) -> None:
    """Each question leads back to the sentence that it quotes; nothing is sent to a model."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "规则.md").write_text(
        "# 租车规则\n\n租车押金为四十欧元，归还车辆时全额退还。背包寄存每天收 1 欧元。\n\n"
        "## 签名\n\n合同必须用铅笔签名，因为墨水在雨里会化开。租车柜台由 Ines 负责，中文合同用 Z3 表格。\n\n"
        "## 退款\n\n客人可以在三天之内拿回租金。自行车停在河边的时候，客人可以在三天之内拿回租金。\n",
        encoding="utf-8",
    )
    context = open_context(tmp_path / "workspace", confirm=lambda plan: True)
    add_documents(AddDocumentsParams(folder=tmp_path / "rules"), context)
    report = GENERATE_DATASET.start(GenerateParams(dataset="rules", collection="default", examples=9), context)
    written = list(read_records(context.workspace.dataset("rules") / "examples.jsonl", Example))
    assert report.calls.sent == 0
    assert {example.language for example in written} == {"zh"}
    asked = {example.question: example.quotes[0].quote for example in written}
    assert asked["为什么合同必须用铅笔签名？"] == "合同必须用铅笔签名，因为墨水在雨里会化开。"
    assert asked["客人可以在多少天之内拿回租金？"] == "客人可以在三天之内拿回租金。"
    assert not any("停在河边" in quote for quote in asked.values())  # its question leads to the other sentence
    assert asked["租车柜台由谁负责？"] == "租车柜台由 Ines 负责，中文合同用 Z3 表格。"
