"""Existing data: every usual form is understood, and what is damaged does not cost the rest."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset.files import CHUNKS, EXAMPLES, REJECTED
from pipelines.dataset.importing import IMPORT_DATASET, ImportParams, ImportReport, write_import
from pipelines.dataset.imports.formats import Entry, read_json_values
from pipelines.dataset.imports.source import open_source
from pipelines.errors import DataError
from pipelines.operation import Context
from pipelines.records import Chunk, Example, ExampleKind, Message, Rejection, read_records, rejected

PAIRS = [{"question": f"How many legs has animal {number}?", "answer": f"It has {number} legs."} for number in range(4)]
HELP_DESK = "Anna: Where is my parcel?\nShop: It left on Monday.\nAnna: Thanks, and the bill?\nShop: In your mail.\n"


def take_in(context: Context, content: str | bytes, **options: Any) -> ImportReport:
    """Import a file with this content into the dataset `old`."""
    path = context.workspace.root / "data.bin"  # the name says nothing
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return IMPORT_DATASET.start(ImportParams(dataset="old", file=path, **options), context)


def examples_of(context: Context) -> list[Example]:
    """Return what was kept."""
    return list(read_records(context.workspace.dataset("old") / EXAMPLES, Example))


def rejections_of(context: Context) -> list[Rejection]:
    """Return what was dropped."""
    return list(read_records(context.workspace.dataset("old") / REJECTED, Rejection))


def only(context: Context) -> Example:
    """Return the one example that was kept."""
    [example] = examples_of(context)
    return example


def said(example: Example) -> list[tuple[str, str]]:
    """Return the roles and contents of an example's messages."""
    return [(message.role, message.content) for message in example.messages]


def lines(*records: object) -> str:
    """Return records as JSONL."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


# ---- shapes


SYSTEM, USER, ASSISTANT = ("system", "Be brief."), ("user", "When?"), ("assistant", "At noon.")
OPENAI = [{"role": role, "content": content} for role, content in (SYSTEM, USER, ASSISTANT)]
ONE_TURN = [USER, ASSISTANT]
SHAPES: dict[str, tuple[object, ExampleKind, list[tuple[str, str]]]] = {
    "openai": ({"messages": OPENAI}, ExampleKind.INSTRUCTION, [SYSTEM, USER, ASSISTANT]),
    "openai with parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "When?"}]}, OPENAI[2]]},
        ExampleKind.INSTRUCTION,
        ONE_TURN,
    ),
    "llama-factory preference": (
        {
            "conversations": [{"from": "human", "value": "When?"}],
            "chosen": {"from": "gpt", "value": "At noon."},
            "rejected": {"from": "gpt", "value": "Dunno."},
        },
        ExampleKind.PREFERENCE,
        ONE_TURN,
    ),
    "openai preference": (
        {
            "input": {"messages": OPENAI[:2]},
            "preferred_output": OPENAI[2:],
            "non_preferred_output": [{**OPENAI[2], "content": "Dunno."}],
        },
        ExampleKind.PREFERENCE,
        [SYSTEM, USER, ASSISTANT],
    ),
    "a list of messages": (OPENAI, ExampleKind.INSTRUCTION, [SYSTEM, USER, ASSISTANT]),
    "sharegpt": (
        {
            "conversations": [{"from": "human", "value": "When?"}, {"from": "gpt", "value": "At noon."}],
            "system": "Be brief.",
        },
        ExampleKind.INSTRUCTION,
        [SYSTEM, USER, ASSISTANT],
    ),
    "sharegpt with other names": ({"conversations": OPENAI}, ExampleKind.INSTRUCTION, [SYSTEM, USER, ASSISTANT]),
    "alpaca": (
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        ExampleKind.INSTRUCTION,
        [("user", "Add.\n\n1 and 2"), ("assistant", "3")],
    ),
    "alpaca with history": (
        {"instruction": "And now?", "input": "", "output": "4", "history": [["Add 1 and 2.", "3"]]},
        ExampleKind.CONVERSATION,
        [("user", "Add 1 and 2."), ("assistant", "3"), ("user", "And now?"), ("assistant", "4")],
    ),
    "question and answer": ({"Question": "When?", "Answer": "At noon."}, ExampleKind.INSTRUCTION, ONE_TURN),
    "prompt and completion": ({"prompt": "When?", "completion": "At noon."}, ExampleKind.INSTRUCTION, ONE_TURN),
    "prompt and completion as messages": (
        {"prompt": OPENAI[:2], "completion": OPENAI[2:]},
        ExampleKind.INSTRUCTION,
        [SYSTEM, USER, ASSISTANT],
    ),
    "kto": ({"prompt": "When?", "completion": "At noon.", "label": True}, ExampleKind.INSTRUCTION, ONE_TURN),
    "chinese names": ({"问题": "When?", "答案": "At noon."}, ExampleKind.INSTRUCTION, ONE_TURN),
    "label": ({"text": "Lovely!", "label": 1}, ExampleKind.CLASSIFICATION, [("user", "Lovely!"), ("assistant", "1")]),
    "spans": (
        {"text": "Hedda rang.", "spans": [{"start": 0, "end": 5, "label": "person"}]},
        ExampleKind.SPANS,
        [("user", "Hedda rang."), ("assistant", '[{"text": "Hedda", "label": "person"}]')],
    ),
    "dpo": ({"prompt": "When?", "chosen": "At noon.", "rejected": "Dunno."}, ExampleKind.PREFERENCE, ONE_TURN),
    "dpo with whole conversations": (
        {"prompt": "When?", "chosen": OPENAI[1:], "rejected": [OPENAI[1], {**OPENAI[2], "content": "Dunno."}]},
        ExampleKind.PREFERENCE,
        ONE_TURN,
    ),
    "chatml": (
        {"text": "<|im_start|>user\nWhen?<|im_end|>\n<|im_start|>assistant\nAt noon.<|im_end|>\n"},
        ExampleKind.INSTRUCTION,
        ONE_TURN,
    ),
}


CONTAINERS = ("lines", "array", "indented", "objects", "wrapped")


@pytest.mark.parametrize(
    ("name", "container"),
    # A bare list of messages is not wrapped: it would be a list of records.
    [(name, each) for name in SHAPES for each in CONTAINERS if "list of" not in name or each not in CONTAINERS[3:]],
)
def test_shapes(name: str, container: str, context: Context) -> None:
    """Each usual shape is told by its fields, in whichever kind of JSON it comes."""
    record, kind, messages = SHAPES[name]
    texts = {
        "lines": lines(record, record),
        "array": json.dumps([record]),
        "indented": json.dumps([record], indent=2),
        "objects": json.dumps(record, indent=4) + "\n" + json.dumps(record, indent=4),
        "wrapped": json.dumps({"version": 1, "data": [record]}),
    }
    take_in(context, texts[container])
    example = only(context)
    assert (example.kind, said(example)) == (kind, messages)
    assert (example.question, example.answer) == (messages[-2][1], messages[-1][1])
    assert (example.teacher, example.prompt) == ("import", "import@1")
    assert example.rejected == ("Dunno." if kind is ExampleKind.PREFERENCE else "")
    assert example.label == ("1" if kind is ExampleKind.CLASSIFICATION else "")


UNUSABLE = {
    "no answer": ({"question": "When?"}, "holds no question with an answer"),
    "empty answer": ({"question": "When?", "answer": " \u200b "}, "has an empty message of the assistant"),
    "number": (7, "is not a record but int"),
    "tool": ({"messages": [{"role": "tool", "content": "x"}]}, "has a message by 'tool'"),
    "tool call": (
        {"messages": [OPENAI[1], {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
        "calls a tool",
    ),
    "picture": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, OPENAI[2]]},
        "something other than text",
    ),
    "nobody asks": ({"messages": [OPENAI[2]]}, "holds no question that is followed by an answer"),
    "twice the same": ({"messages": [OPENAI[1], OPENAI[1], OPENAI[2]]}, "two messages of the user in a row"),
    "late system": ({"messages": [*OPENAI[1:], OPENAI[0], *OPENAI[1:]]}, "system message that is not the first"),
    "bad answer": ({"prompt": "When?", "completion": "Dunno.", "label": False}, "marked as a bad one"),
    "same answers": ({"prompt": "When?", "chosen": "Noon.", "rejected": "Noon. "}, "the same as the better one"),
    "no prompt": ({"chosen": "Noon.", "rejected": "Dunno."}, "has two answers, but no question"),
    "odd history": ({"instruction": "a", "output": "b", "history": ["a"]}, "not a list of pairs"),
    "no text": ({"question": {"a": 1}, "answer": "Noon."}, "expected a text or messages, got dict"),
    "odd message": ({"messages": [1]}, "has a message that is int"),
    "odd content": ({"messages": [{"role": "user", "content": 5}]}, "whose content is int"),
    "odd label": ({"text": "Lovely!", "label": ["a"]}, "its 'label' is not a text but list"),
    "no worse": ({"prompt": "When?", "chosen": "Noon.", "rejected": None}, "holds no question with an answer"),
    "empty worse": ({"prompt": "When?", "chosen": "Noon.", "rejected": []}, "lacks the better or the worse"),
    "other question": (
        {"chosen": OPENAI[1:], "rejected": [{**OPENAI[1], "content": "Who?"}, OPENAI[2]]},
        "do not answer the same question",
    ),
    "half a character": ({"question": "When?", "answer": "At \ud83d"}, "half a character"),
    "span outside": ({"text": "Hedda", "spans": [{"start": 3, "end": 9, "label": "p"}]}, "marks nothing"),
    "span without label": (
        {"text": "Hedda", "spans": [{"start": 0, "end": 5}]},
        "not usable (0.label: Field required)",
    ),
    "span in a span": (
        {"text": "Hedda", "spans": [{"start": 0, "end": 5, "label": "p"}, {"start": 2, "end": 4, "label": "q"}]},
        "overlaps the one before",
    ),
    "empty label": ({"text": "Lovely!", "label": ""}, "its label is empty"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_records(name: str, context: Context) -> None:
    """A record that lacks something is dropped with its place and reason, and the rest goes on."""
    record, reason = UNUSABLE[name]
    report = take_in(context, json.dumps(PAIRS[0]) + "\n" + json.dumps(record) + "\n" + json.dumps(PAIRS[1]))
    [rejection] = rejections_of(context)
    assert rejection.check == "schema"
    assert rejection.reason.startswith("line 2 ")
    assert reason in rejection.reason
    assert (report.kept, report.rejected) == (2, {"schema": 1})


def test_spans_stay_on_their_pieces(context: Context) -> None:
    """Where cleaning a text moves it, the spans move along; a text may also have none."""
    text = " \u200bRing Zoe\u0308 in Tallinn!\n"
    places = [(text.index(piece), text.index(piece) + len(piece)) for piece in ("Zoe\u0308", "Tallinn")]
    spans = [{"start": start, "end": end, "label": "name", "id": 4} for start, end in reversed(places)]
    take_in(context, lines({"text": text, "spans": spans}, {"text": "Nobody rang.", "spans": []}))
    marked, bare = examples_of(context)
    assert [marked.question[span.start : span.end] for span in marked.spans] == ["Zo\u00eb", "Tallinn"]
    assert (bare.kind, bare.spans, bare.answer) == (ExampleKind.SPANS, (), "[]")


def test_turns_without_a_partner_are_trimmed(context: Context) -> None:
    """A greeting before the first question and a question after the last answer are left out, and counted."""
    turns = [("gpt", "Hello!"), ("human", "When?"), ("gpt", "At noon."), ("human", "Thanks.")]
    report = take_in(context, lines({"conversations": [{"from": who, "value": text} for who, text in turns]}))
    assert said(only(context)) == ONE_TURN
    assert report.trimmed == 2


def test_a_passage_becomes_a_chunk(context: Context) -> None:
    """A record's own passage is kept as a chunk, and the answer's words in it as a quote."""
    text = "The bridge was built in 1890. It is blue."
    report = take_in(
        context,
        lines(
            {"context": text, "question": "When was it built?", "answers": {"text": ["in 1890"], "answer_start": [21]}},
            {"context": text, "question": "What colour is it?", "answer": "The colour of the sky."},
        ),
    )
    [chunk] = read_records(context.workspace.dataset("old") / CHUNKS, Chunk)
    grounded, other = examples_of(context)
    assert chunk.text == text
    assert {example.sources for example in (grounded, other)} == {(chunk.id,)}
    assert [quote.quote for quote in grounded.quotes] == ["in 1890"]
    assert said(grounded)[0] == ("user", "When was it built?")
    assert (other.kind, other.quotes) == (ExampleKind.INSTRUCTION, ())
    assert said(other)[0] == ("user", f"{text}\n\nWhat colour is it?")
    assert report.kinds == {"grounded": 1, "instruction": 1}


def test_squad(context: Context) -> None:
    """Questions in paragraphs in articles, as SQuAD has them, are found with their passages."""
    asked = [
        {"question": "When was it built?", "answers": [{"text": "in 1890", "answer_start": 21}]},
        {"question": "Who?", "answers": [], "is_impossible": True},
    ]
    article = {"title": "Bridge", "paragraphs": [{"context": "The bridge was built in 1890.", "qas": asked}]}
    report = take_in(context, json.dumps({"version": "1.1", "data": [article, article]}))
    [chunk] = read_records(context.workspace.dataset("old") / CHUNKS, Chunk)
    assert chunk.heading == "Bridge"
    assert only(context).quotes[0].quote == "in 1890"
    assert report.rejected == {"schema": 2, "exact_duplicate": 1}


@pytest.mark.parametrize(
    ("kind", "record", "kept"),
    [
        ("classification", {"question": "Lovely!", "answer": "good"}, True),
        ("false_premise", {"question": "Why is it blue?", "answer": "It is red."}, True),
        ("preference", {"question": "When?", "answer": "Noon."}, False),
        ("grounded", {"question": "When?", "answer": "Noon."}, False),
        ("instruction", {"prompt": "When?", "chosen": "Noon.", "rejected": "Dunno."}, True),
    ],
)
def test_a_kind_can_be_given(kind: Any, record: object, kept: bool, context: Context) -> None:
    """What the records teach can be said, unless they lack what it takes."""
    if not kept:
        with pytest.raises(DataError, match="is to be"):
            take_in(context, lines(record), kind=kind)
        return
    take_in(context, lines(record), kind=kind)
    example = only(context)
    assert example.kind == kind
    assert example.label == ("good" if kind == "classification" else "")
    assert example.rejected == ""


# ---- tables


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_tables(delimiter: str, line_end: str, context: Context) -> None:
    """CSV is read by its header, whatever stands between cells and lines; cells may hold either."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "Question", "Answer"], ["1", f"A{delimiter} or B?", "First\nsecond"], [], ["2", "Why?"]])
    writer.writerow(["3", "When?", "Noon", "too", "much"])
    report = take_in(context, file.getvalue().encode())
    seen = delimiter.replace("\t", " ")
    assert (only(context).question, only(context).answer) == (f"A{seen} or B?", "First\nsecond")
    assert report.format == "csv"
    short, long = (rejection.reason for rejection in rejections_of(context))
    assert "has an empty message of the assistant" in short
    assert "has 5 cells, but the header 3" in long


@pytest.mark.parametrize("rows", [3, 5000])
def test_a_quotation_mark_that_is_never_closed(rows: int, context: Context) -> None:
    """A damaged row of a table costs that row, not those below it."""
    good = "".join(f"How many legs has animal {number}?,It has {number} legs.\n" for number in range(rows))
    report = take_in(context, f'question,answer\nWhen?,"At noon.\n{good}Who?,"Me" too\nWhy?,"So\nit is."\n')
    assert (report.kept, report.rejected) == (rows + 1, {"schema": 2})
    first, second = rejections_of(context)
    assert (first.reason.split(" is ")[0], first.text) == ("line 2", 'When?,"At noon.\n')
    assert second.reason.startswith(f"line {rows + 3} is not a row")
    assert examples_of(context)[-1].answer == "So\nit is."


@pytest.mark.parametrize(
    "content", ["Ask;Tell;x\nWhen?;Noon.;1\n", lines({"Ask": "When?", "Tell": "Noon.", "x": 1})], ids=["csv", "jsonl"]
)
def test_columns_can_be_named(content: str, context: Context) -> None:
    """Columns with other names are read if they are named."""
    with pytest.raises(DataError):
        take_in(context, content)
    take_in(context, content, question="ask", answer="Tell")
    assert (only(context).question, only(context).answer) == ("When?", "Noon.")


# ---- chat logs


LOGS = {
    "plain": HELP_DESK,
    "stamps": "[2024-01-02 10:11] Anna: Where is my parcel?\n[2024-01-02 10:12:09] Shop: It left on Monday.\n"
    "[2024-01-02 10:13] Anna: Thanks, and the bill?\n[2024-01-02 10:13] Shop: In your mail.\n",
    "whatsapp": "02/01/2024, 10:10 - Messages and calls are end-to-end encrypted.\n"
    "02/01/2024, 10:11 - Anna: Where is my parcel?\n02/01/2024, 10:12 - Shop: It left on Monday.\n"
    "02/01/2024, 10:13 - Anna: <Media omitted>\n02/01/2024, 10:13 - Anna: Thanks, and the bill?\n"
    "02/01/2024, 10:13 - Shop: In your mail.\n",
    "iphone": "\u200e[1/2/24, 10:11:12\u202fAM] Anna: Where is my parcel?\n"
    "[1/2/24, 10:11:13 AM] Shop: It left on Monday.\n"
    "[1/2/24, 10:11:14 AM] Anna: Thanks, and the bill?\n[1/2/24, 10:12:12 AM] Shop: In your mail.\n",
    "irc": "10:11 <Anna> Where is my parcel?\n10:11 <@Shop> It left on Monday.\n"
    "10:12 <Anna> Thanks, and the bill?\n10:13 <@Shop> In your mail.\n",
    "bare irc": "<Anna> Where is my parcel?\n<Shop> It left on Monday.\n"
    "<Anna> Thanks, and the bill?\n<Shop> In your mail.\n",
    "chinese colon": HELP_DESK.replace(": ", "："),
    "blank lines": HELP_DESK.replace("\n", "\n\n"),
}


@pytest.mark.parametrize("name", LOGS)
def test_chat_logs(name: str, context: Context) -> None:
    """What messengers, help desks and channels write down is understood as a conversation."""
    report = take_in(context, LOGS[name], assistant="shop")
    assert said(only(context)) == [
        ("user", "Where is my parcel?"),
        ("assistant", "It left on Monday."),
        ("user", "Thanks, and the bill?"),
        ("assistant", "In your mail."),
    ]
    assert only(context).kind is ExampleKind.CONVERSATION
    assert (report.format, report.rejected) == ("chat-log", {"schema": 2} if name == "whatsapp" else {})


def test_messages_over_several_lines(context: Context) -> None:
    """A line that nobody begins belongs to the message before; one after the other of the same speaker are one."""
    log = (
        "[10:11] Anna: I have a question:\n[10:11] Anna: how do I reset it?\n"
        "[10:12] Shop: Do this.\nFirst: hold the button.\nhttps://example.org\n"
    )
    take_in(context, log, assistant="Shop")
    assert said(only(context)) == [
        ("user", "I have a question:\nhow do I reset it?"),
        ("assistant", "Do this.\nFirst: hold the button.\nhttps://example.org"),
    ]


def test_what_only_looks_like_a_speaker(context: Context) -> None:
    """Without stamps, a word before a colon that never comes back is part of the message."""
    log = "Anna: How?\nShop: Do this.\nNote: hold it long.\nAnna: Thanks, and then?\nShop: Wait.\n"
    take_in(context, log, assistant="Shop")
    assert said(only(context))[1] == ("assistant", "Do this.\nNote: hold it long.")


@pytest.mark.parametrize(
    ("log", "count"),
    [
        (HELP_DESK + "-----\n" + HELP_DESK.replace("parcel", "book"), 2),
        (LOGS["stamps"] + LOGS["stamps"].replace("01-02", "01-03").replace("parcel", "book"), 2),
        ("".join(f"Anna: How many legs has animal {n}?\nShop: It has {n} legs.\n" for n in range(20)), 3),
    ],
    ids=["dashes", "dates", "length"],
)
def test_logs_are_divided(log: str, count: int, context: Context) -> None:
    """A conversation ends at a line of dashes, with the day, or when it has grown long."""
    take_in(context, log, assistant="Shop")
    assert len(examples_of(context)) == count


def test_the_assistant_is_told_by_its_name(context: Context) -> None:
    """A speaker called assistant, bot or the like needs no option."""
    take_in(context, HELP_DESK.replace("Shop", "客服"))
    assert only(context).answer == "In your mail."


@pytest.mark.parametrize("named", ["", "Berta"])
def test_unknown_assistant(named: str, context: Context) -> None:
    """Where it cannot be told who is the assistant, the speakers are listed."""
    with pytest.raises(DataError, match=r"Anna \(2\), Shop \(2\)"):
        take_in(context, HELP_DESK, assistant=named)
    assert not context.workspace.dataset("old").exists()


# ---- bytes


CHINESE = "问题,答案\n退货期限是多久？,自收到商品之日起三十天内可以退货。\n运费由谁承担？,由商店承担运费。\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "gbk"]
)
def test_encodings(encoding: str, context: Context) -> None:
    """The encoding is told by the bytes."""
    take_in(context, CHINESE.encode(encoding))
    first, _second = examples_of(context)
    assert (first.question, first.language) == ("退货期限是多久？", "zh")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_wide_text_without_a_mark(encoding: str, context: Context) -> None:
    """English in two bytes a letter is told by its zero bytes."""
    take_in(context, "question,answer\nWhen?,At noon.\n".encode(encoding))
    assert only(context).answer == "At noon."


def test_an_encoding_can_be_named(context: Context) -> None:
    """An encoding that cannot be told from another is taken as it is given."""
    take_in(context, "question,answer\nWie heißt es?,Café Müller\n".encode("cp1252"), encoding="cp1252")
    assert only(context).answer == "Café Müller"
    with pytest.raises(DataError, match="no encoding 'utf-9'"):
        take_in(context, "x", encoding="utf-9", replace=True)


def test_a_few_broken_bytes_cost_their_record_only(context: Context) -> None:
    """Bytes that are no text do not make the file one of another encoding."""
    good = lines(*({"question": f"第{n}个问题是什么？", "answer": f"第{n}个答案。"} for n in range(9))).encode()
    report = take_in(context, good.replace("第4个答案".encode(), b"\xff\xfe"))
    assert (report.kept, report.encoding) == (8, "utf-8")
    assert rejections_of(context)[0].reason == "line 5 holds bytes that are not UTF-8"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"PAR1rest", "Parquet"),
        (b"%PDF-1.7", "PDF"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"Just a letter.\nWith two lines.\n", "it begins with 'Just a letter.'"),
        (b"{}\n", "nothing in data.bin could be used"),
        (b"[]", "no record at all"),
        (b'{"a": ', "is not JSON"),
    ],
)
def test_files_that_are_nothing(content: bytes, message: str, context: Context) -> None:
    """A file without a usable record is refused with what came, and what was expected."""
    with pytest.raises(DataError, match=message) as caught:
        take_in(context, content)
    assert caught.value.hint or "empty" in message
    assert not (context.workspace.dataset("old") / EXAMPLES).exists()


def test_control_characters_do_not_get_in(context: Context) -> None:
    """What could steer a terminal, or hide, is not part of the text."""
    take_in(context, lines({"question": "\x1b[31mWhen\u202e?", "answer": "At\u200b noon.\x07"}))
    assert (only(context).question, only(context).answer) == ("[31mWhen?", "At noon.")


# ---- damage


@pytest.mark.parametrize("indent", [None, 2])
def test_damage_within_an_array(indent: int | None, context: Context) -> None:
    """A damaged element of a JSON array costs that element, and a cut end the last one."""
    text = json.dumps(PAIRS, indent=indent).replace('"It has 1 legs."', '"It has 1 legs.')
    report = take_in(context, text[:-6])
    assert [example.answer for example in examples_of(context)] == [PAIRS[0]["answer"], PAIRS[2]["answer"]]
    assert report.rejected == {"schema": 2}


@given(
    values=st.lists(
        st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.lists(st.integers(), max_size=3), max_size=4),
        max_size=6,
    ),
    form=st.sampled_from(["array", "indented", "lines"]),
    block=st.integers(1, 60),
)
def test_values_are_read_across_blocks(values: list[object], form: str, block: int) -> None:
    """However the text is cut into blocks, the same values come out."""
    texts = {
        "array": json.dumps(values),
        "indented": json.dumps(values, indent=1),
        "lines": "\n".join(json.dumps(value) for value in values),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.dataset.imports.formats._BLOCK", block)
        read = list(read_json_values(io.StringIO(texts[form])))
    assert [entry.value for entry in read if isinstance(entry, Entry)] == values


def test_lines_with_damage(context: Context) -> None:
    """A line that is no JSON, or too deep, is dropped; blank lines are nothing."""
    content = [json.dumps(PAIRS[0]), '{"question": "Cut', "", "[" * 100_000, json.dumps(PAIRS[1])]
    report = take_in(context, "\r\n".join(content))
    assert (report.kept, report.rejected) == (2, {"schema": 2})
    assert rejections_of(context)[0].reason.startswith("line 2 is not JSON")


def test_the_same_record_twice(context: Context) -> None:
    """A record is kept once; a second one would have the same id."""
    report = take_in(context, lines(PAIRS[0], PAIRS[1], PAIRS[0]))
    assert (report.kept, report.rejected) == (2, {"exact_duplicate": 1})
    [rejection] = rejections_of(context)
    assert rejection.example is not None
    assert rejection.example.id == examples_of(context)[0].id


# ---- the operation


def test_the_same_file_again(context: Context) -> None:
    """The same import is not done twice, and another one does not replace it unasked."""
    first = take_in(context, lines(*PAIRS))
    before = (context.workspace.dataset("old") / EXAMPLES).stat().st_mtime_ns
    assert take_in(context, lines(*PAIRS)) == first
    assert (context.workspace.dataset("old") / EXAMPLES).stat().st_mtime_ns == before
    with pytest.raises(DataError, match="already"):
        take_in(context, lines(*PAIRS[:2]))
    assert take_in(context, lines(*PAIRS[:2]), replace=True).kept == 2
    with pytest.raises(DataError, match="nothing in"):
        take_in(context, lines({"a": 1}), replace=True)
    assert len(examples_of(context)) == 2


def test_each_example_passes_the_checks(context: Context, tmp_path: Path) -> None:
    """A check may drop an imported example, or write down what it measured."""

    def measure(example: Example) -> Example:
        return example.model_copy(update={"scores": {"length": float(len(example.answer))}})

    def drop_second(example: Example) -> Example | Rejection:
        assert example.scores
        return rejected(example, check="length", reason="too odd") if "animal 1" in example.question else example

    path = tmp_path / "pairs.jsonl"
    path.write_text(lines(*PAIRS), encoding="utf-8")
    context.workspace.dataset("old").mkdir(parents=True)
    source = open_source(path, form="auto", question="", answer="", assistant="", encoding="")
    params = ImportParams(dataset="old", file=path)
    report = write_import(source, params, context, checks=[measure, drop_second])
    assert (report.kept, report.rejected) == (3, {"length": 1})
    assert all(example.scores["length"] for example in examples_of(context))


@pytest.mark.parametrize("form", ["csv", "jsonl", "sharegpt", "alpaca", "openai", "chat-log"])
def test_a_form_can_be_given(form: Any, context: Context) -> None:
    """A form that is given is the only one that is tried."""
    contents = {
        "csv": "question,answer\nWhen?,At noon.\n",
        "jsonl": lines({"prompt": "When?", "completion": "At noon."}),
        "sharegpt": lines(
            {"conversations": [{"from": "human", "value": "When?"}, {"from": "gpt", "value": "At noon."}]}
        ),
        "alpaca": lines({"instruction": "When?", "output": "At noon."}),
        "openai": lines({"messages": OPENAI[1:]}),
        "chat-log": "User: When?\nAssistant: At noon.\n",
    }
    for other in contents:
        readable = other == form or (form == "jsonl" and other not in ("csv", "chat-log"))
        if readable:
            assert take_in(context, contents[other], format=form, replace=True).kept == 1
        else:
            with pytest.raises(DataError):
                take_in(context, contents[other], format=form, replace=True)


def test_the_messages_are_always_there(context: Context) -> None:
    """Whatever was imported can be trained on: the messages end with the answer."""
    take_in(context, lines(*(record for record, _kind, _said in SHAPES.values())))
    for example in examples_of(context):
        assert example.messages[-1] == Message(role="assistant", content=example.answer)
        assert example.question in example.messages[-2].content
