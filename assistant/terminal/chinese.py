"""The Chinese of what is shown of documents and of searches in them; the English text is the key."""

from __future__ import annotations

DOCUMENTS = {
    # names of fields and columns
    "collection": "集合",
    "collections": "集合",
    "document": "文档",
    "documents": "文档",
    "title": "标题",
    "characters": "字符",
    "pages": "页数",
    "chunks": "段落",
    "added": "新增",
    "updated": "更新",
    "renamed": "改名",
    "removed": "移除",
    "unchanged": "未变",
    "changes": "变化",
    "change": "变化",
    "former": "原名",
    "pending": "待索引",
    "embedder": "嵌入模型",
    "former embedder": "原嵌入模型",
    "embedded": "新嵌入",
    "megabytes": "大小（MB）",
    "runs": "更新次数",
    "filling the vector index": "填充向量索引",
    # an evaluation of searches
    "English": "英文",
    "Chinese": "中文",
    "the worst documents": "找得最差的文档",
    "Problem": "问题",
    "Look": "注意",
    "Good": "良好",
    "nDCG@10 is {gain} ({low} to {high}) against {arm}: {verdict}.": (
        "与{arm}相比，nDCG@10 的差异为 {gain}（{low} 到 {high}）：{verdict}。"
    ),
    "better than any simple way of searching": "优于任何单一的检索方式",
    "these questions cannot tell them apart": "这些问题不足以区分两者",
    "a simpler way of searching does better on these questions": "对这些问题，更简单的检索方式效果更好",
    "With {n} questions the figures are rough; {enough} or more tell smaller differences.": (
        "只有 {n} 个问题，数字较粗略；{enough} 个以上才能看出更小的差异。"
    ),
    "{n} questions have a place in no passage, such as a heading, and count as missed.": (
        "{n} 个问题的出处不在任何段落中（例如标题），计为未找到。"
    ),
    "{n} questions were left out: their documents are not here, or have changed.": (
        "{n} 个问题未使用：其文档不在集合中，或已改变。"
    ),
    "The search was fitted to this collection: if it was with these questions, the figures are too good.": (
        "检索参数已按此集合拟合：如果用的就是这些问题，数字会偏高。"
    ),
    "Questions in {name} find less than others: {share} against {whole} within {top_k}.": (
        "{name}问题找到的较少：前 {top_k} 个段落中 {share}，总体为 {whole}。"
    ),
    "Answerable and unanswerable questions are told apart with an AUROC of {auroc}: {verdict}.": (
        "区分能否回答的 AUROC 为 {auroc}：{verdict}。"
    ),
    "there are too few unanswerable ones to be sure": "无法回答的问题太少，还不可靠",
    "well": "良好",
    "refusals will often be wrong": "拒答会经常出错",
    "{missed} of {n} questions found no right passage among the first {top_k}; the page names them.": (
        "{n} 个问题中有 {missed} 个在前 {top_k} 个段落中没有找到正确出处，报告页面已列出。"
    ),
    # what was fitted
    "The fitted weights are used from now on: they are surely better.": "今后使用拟合的权重：效果确实更好。",
    "The default weights stay: no fitted ones are surely better.": "保留默认权重：没有拟合的权重确实更好。",
    "On {n} questions nDCG@10 is {before} by default and {fitted} as fitted: {gain} ({low} to {high}).": (
        "{n} 个问题的 nDCG@10：默认 {before}，拟合后 {fitted}，差异 {gain}（{low} 到 {high}）。"
    ),
    "The probability of an answer was fitted too.": "能否回答的概率也已拟合。",
    "The probability of an answer was not fitted: a language needs more questions of either kind.": (
        "能否回答的概率未拟合：每种语言的可回答与无法回答的问题都要更多。"
    ),
}
