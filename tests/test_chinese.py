"""Chinese documents with the packaged models: chosen, found in other words, and told from what they do not answer."""

from __future__ import annotations

import pytest

from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.knowledge.search import SearchDocumentsParams, SearchDocumentsReport, search_documents
from pipelines.operation import Context, open_context

RULES = {
    "租车.md": "# 租车规则\n\n租车押金为四十欧元，归还车辆时全额退还。六人以上的团体租车没有折扣。\n",
    "营业时间.md": "# 营业时间\n\n门店周日上午十点开门，晚上六点关门。节假日休息。\n",
    "修理.md": "# 修理\n\n修补内胎通常需要二十分钟，可以在店里等候。刹车液的车辆只在周五接收。\n",
    "头盔.md": "# 头盔\n\n所有顾客都可以免费借用头盔，当天归还即可。\n",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A workspace with the rules of a shop."""
    root = tmp_path_factory.mktemp("shop")
    (root / "rules").mkdir()
    for name, text in RULES.items():
        (root / "rules" / name).write_text(text, encoding="utf-8")
    context = open_context(root / "workspace")
    add_documents(AddDocumentsParams(folder=root / "rules"), context)
    return context


def search(question: str, context: Context) -> SearchDocumentsReport:
    """Search as every surface does."""
    return search_documents(SearchDocumentsParams(query=question), context)


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("礼拜天早上几时营业？", "营业时间.md"),
        ("补一个轮胎要等多久？", "修理.md"),
        ("没带安全帽，可以借一个吗？", "头盔.md"),
    ],
)
def test_what_is_asked_in_other_words_is_found(shop: Context, question: str, document: str) -> None:
    """The first passage answers, and the search thinks so."""
    found = search(question, shop)
    assert found.passages[0].document == document
    assert found.answerable > 0.5


@pytest.mark.parametrize("question", ["珠穆朗玛峰有多高？", "红烧肉要炖多长时间？", "谁赢得了世界杯？"])
def test_what_is_about_something_else_is_told(shop: Context, question: str) -> None:
    """Some passage is always nearest; that it answers is unlikely."""
    assert search(question, shop).answerable < 0.5
