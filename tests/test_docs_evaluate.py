"""How well passages are found: questions from files and datasets, measures, statistics, page."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy
import pytest
from rich.console import Console

from assistant.terminal.reports import render
from pipelines.errors import DataError, SettingsError
from pipelines.knowledge.add import ADD_DOCUMENTS, AddDocumentsParams
from pipelines.knowledge.chunk import chunk_document
from pipelines.knowledge.collection import opened_ledger, opened_retriever
from pipelines.knowledge.evaluate import EVALUATE_DOCUMENTS, EvaluateDocumentsParams, EvaluateDocumentsReport
from pipelines.knowledge.fusion import Weights
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.knowledge.measuring.asking import Asked, rank_pool
from pipelines.knowledge.measuring.findings import find
from pipelines.knowledge.measuring.measures import Ranks, find_ranks, ndcg, recall, reciprocal_rank
from pipelines.knowledge.measuring.page import render_page
from pipelines.knowledge.measuring.questions import KnownQuestion, Place, Target, find_quote, join_targets
from pipelines.knowledge.measuring.report import Arm, AskedQuestion, Latency
from pipelines.knowledge.measuring.sources import Questions, read_dataset, read_file
from pipelines.knowledge.measuring.summary import answerability, arm_figures, grouped_figures, latency, mean_interval
from pipelines.knowledge.retrieve import Pool
from pipelines.knowledge.tuning import TUNING, default_tuning, save_tuning
from pipelines.operation import Context, Progress
from pipelines.records import (
    Chunk,
    Document,
    Example,
    ExampleKind,
    Language,
    Quote,
    content_id,
    read_records,
    write_records,
)
from pipelines.workspace import Workspace
from tests.conftest import Recorder, make_context

HARBOUR = (
    "# Harbour\n\nThe lighthouse keeper lights the lamp at half past five. Boats longer than nine metres berth at the "
    "eastern pier.\n\n## Fees\n\nA night at the eastern pier costs thirty crowns. Fishing boats pay nothing.\n"
)
MUSEUM = (
    "# Museum\n\nThe whale skeleton hangs in the second hall. Visitors under twelve enter free of charge.\n\n"
    "## Hours\n\nThe museum is closed on Tuesdays. It opens at ten.\n"
)
LIBRARY_ZH = "# 图书馆\n\n图书馆每周三下午闭馆。每位读者一次最多借六本书。\n"
NIGHT, CLOSED = "A night at the eastern pier costs thirty crowns.", "The museum is closed on Tuesdays."
HOSTILE = "</style><script>alert(1)</script><img src=x>{{ 7*7 }}"


def chunk(document: str, start: int, end: int) -> Chunk:
    """A chunk of which only the place matters."""
    return Chunk(id=f"{document}:{start}", document=document, start=start, end=end, text="x" * (end - start))


def known(*targets: Target, question: str = "Where?", language: Language = "en") -> KnownQuestion:
    """A question with known places."""
    return KnownQuestion(question=question, language=language, targets=targets)


def asked(ranks: Ranks, others: Ranks | None = None, *, answerable: float = 0.9, about: str = "a.md") -> Asked:
    """What came of a question; of an unanswerable one without ranks."""
    question = known(*(((Place(about, 0, 9),),) * len(ranks)))
    other = ranks if others is None else others
    found: dict[Arm, Ranks] = {"all": ranks, "dense": other, "keyword": other, "rrf": other} if ranks else {}
    return Asked(question=question, ranks=found, first=None, answerable=answerable, seconds=0.02)


@pytest.mark.parametrize(
    ("ranks", "at_1", "at_5", "gain", "reciprocal"),
    [
        ((1,), 1.0, 1.0, 1.0, 1.0),
        ((3,), 0.0, 1.0, 1 / math.log2(4), 1 / 3),
        ((None,), 0.0, 0.0, 0.0, 0.0),
        ((11,), 0.0, 0.0, 0.0, 0.0),
        # Of two targets, one at rank 2 and one at 7: (1/log2(3) + 1/log2(8)) / (1/log2(2) + 1/log2(3)).
        ((7, 2), 0.0, 0.5, (0.63092975 + 1 / 3) / 1.63092975, 0.5),
        ((1, 1), 1.0, 1.0, 1.0, 1.0),
    ],
)
def test_measures(ranks: Ranks, at_1: float, at_5: float, gain: float, reciprocal: float) -> None:
    """Recall, nDCG and the reciprocal rank are those computed by hand."""
    assert recall(ranks, at=1) == at_1
    assert recall(ranks, at=5) == at_5
    assert ndcg(ranks) == pytest.approx(gain)
    assert reciprocal_rank(ranks) == pytest.approx(reciprocal)


def test_hit_is_an_overlap() -> None:
    """A passage is right if it holds any of the known place; beside it, or in another document, it is not."""
    question = known((Place("a.md", 100, 120),))
    before, after, other = chunk("a.md", 50, 100), chunk("a.md", 120, 170), chunk("b.md", 90, 130)
    assert find_ranks(question, [before, after, other]) == (None,)
    assert find_ranks(question, [before, chunk("a.md", 119, 170)]) == (2,)


def test_document_counts_once() -> None:
    """Where only the document is known, several passages of another one before it take one rank."""
    found = [chunk("b.md", 0, 9), chunk("b.md", 9, 20), chunk("b.md", 20, 30), chunk("a.md", 0, 9)]
    assert find_ranks(known((Place("a.md"),)), found) == (2,)
    assert find_ranks(known((Place("a.md", 0, 5),)), found) == (4,)


def test_places_of_one_chunk_are_one_target() -> None:
    """Two quotes in the same chunk are found with one passage, and two in different ones with two."""
    chunks = {"a.md": [chunk("a.md", 0, 50), chunk("a.md", 50, 90)]}
    first, second, third = ((Place("a.md", start, start + 5),) for start in (10, 30, 60))
    assert len(join_targets([first, second], chunks)) == 1
    assert join_targets([first, third], chunks) == (first, third)


def test_quote_is_found_wherever_it_stands() -> None:
    """Any occurrence of a quote is right, whatever its white space."""
    text = "It is free. Then more.\nIt is\nfree. It is free."
    document = Document(id="a.md", source="a.md", title="a", sha256="", text=text)
    assert [(place.start, place.end) for place in find_quote("It is  free.", document)] == [(0, 11), (23, 34), (35, 46)]
    assert find_quote("It costs", document) == ()


def test_simple_ways_of_searching() -> None:
    """Dense ranks by cosine, BM25 only what matches, and reciprocal ranks add up."""
    chunks = [chunk(name, 0, 9) for name in "abc"]
    pool = Pool(
        chunks=chunks,
        dense=numpy.array([0.9, 0.5, 0.7]),
        keyword=numpy.array([0.0, 3.0, 2.0]),
        own=None,
        around=None,
        words=0.5,
    )
    orders: dict[Arm, str] = {"dense": "acb", "keyword": "bc", "rrf": "bca"}
    # 1/63 + 1/61 for b, twice 1/62 for c, 1/61 for a.
    for arm, order in orders.items():
        assert "".join(each.document for each in rank_pool(pool, arm)) == order


def test_interval_of_a_mean() -> None:
    """The interval holds the mean, is narrower with more values, and a constant has none."""
    values = numpy.random.default_rng(0).normal(0.1, 0.3, 400)
    low, high = mean_interval(values, seed=0)
    few_low, few_high = mean_interval(values[:40], seed=0)
    # By the normal approximation 1.96 s / sqrt(n) to either side.
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert low < values.mean() < high
    assert few_high - few_low > high - low
    assert mean_interval(numpy.full(9, 0.25), seed=0) == (0.25, 0.25)


def test_figures() -> None:
    """Means are over questions, groups come worst first, and percentiles are of all searches."""
    results = [asked((1,), (2,)), asked((None,), (1,), about="b.md"), asked((4,), (4,)), asked(())]
    arms = {each.arm: each for each in arm_figures(results, top_k=3)}
    assert (arms["all"].n, arms["all"].recall_at_1, arms["all"].recall_at_5) == (3, 0.3333, 0.6667)
    assert arms["all"].recall_at_top_k == 0.3333
    assert arms["all"].recall_curve == [0.3333] * 3 + [0.6667] * 7
    assert arms["dense"].mrr_at_10 == round((1 / 2 + 1 + 1 / 4) / 3, 4)
    groups = grouped_figures(results, lambda each: each.question.document, top_k=3)
    assert [(each.name, each.n) for each in groups] == [("b.md", 1), ("a.md", 2)]
    assert latency(results) == Latency(p50_ms=20.0, p95_ms=20.0)


def test_answerable_or_not() -> None:
    """AUROC is the share of pairs in the right order; a threshold errs on both sides."""
    results = [asked((1,), answerable=score) for score in (0.9, 0.8, 0.4)]
    assert answerability(results) is None
    results += [asked((), answerable=score) for score in (0.6, 0.1)]
    told = answerability(results)
    assert told is not None
    assert told.auroc == round(5 / 6, 4)
    assert (told.wrongly_refused, told.wrongly_answered) == (0.3333, 0.5)
    assert (told.best_threshold, told.best_wrongly_refused, told.best_wrongly_answered) == (0.8, 0.3333, 0.0)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A workspace whose collection holds three documents."""
    folder = tmp_path_factory.mktemp("town")
    documents = folder / "documents"
    documents.mkdir()
    for name, text in (("harbour.md", HARBOUR), ("museum.md", MUSEUM), ("图书馆.md", LIBRARY_ZH)):
        (documents / name).write_text(text, encoding="utf-8")
    context = make_context(Workspace(folder / "workspace"), Recorder())
    ADD_DOCUMENTS.start(AddDocumentsParams(folder=documents), context)
    yield context


@pytest.fixture(scope="module")
def evaluated(town: Context) -> EvaluateDocumentsReport:
    """The report on a file of questions about the town, one of them hostile."""
    lines = [
        {"question": "What does a night at the eastern pier cost?", "document": "harbour.md", "quote": NIGHT},
        {"question": "In which hall does the whale skeleton hang?", "document": "museum.md"},
        {"question": "每位读者最多可以借几本书？", "document": "图书馆.md", "quote": "每位读者一次最多借六本书。"},
        {"question": f"When is the museum closed? {HOSTILE}", "document": "museum.md", "quote": CLOSED},
        {"question": "Which orchestra plays Mahler tonight?", "answerable": False},
        {"question": "How is a transistor doped?", "document": None, "quote": None},
    ]  # fmt: skip
    return start(town, write_lines(town.workspace.root / "own.jsonl", lines))


def write_lines(path: Path, lines: list[dict[str, object]]) -> Path:
    """Write a file of questions."""
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def start(context: Context, questions: Path | None, **params: object) -> EvaluateDocumentsReport:
    """Evaluate as every surface does."""
    given = EvaluateDocumentsParams.model_validate({"questions": questions} | params)
    return EVALUATE_DOCUMENTS.start(given, context)


def read(context: Context, path: Path) -> Questions:
    """Read a file of questions about the collection."""
    with opened_ledger(context, "default") as ledger:
        return read_file(path, ledger)


def test_evaluation_of_a_collection(town: Context, evaluated: EvaluateDocumentsReport) -> None:
    """Questions whose words stand in one passage find it; others are told apart; all stands in the report."""
    assert (evaluated.n, evaluated.n_unanswerable, evaluated.outside, evaluated.left_out) == (4, 2, 0, 0)
    assert evaluated.whole.recall_at_5 == 1.0
    assert not evaluated.is_tuned
    assert [each.arm for each in evaluated.arms] == ["all", "rrf", "keyword", "dense"]
    assert {each.name: each.n for each in evaluated.languages} == {"en": 3, "zh": 1}
    assert {each.name for each in evaluated.documents} == {"harbour.md", "museum.md", "图书馆.md"}
    assert evaluated.answerability is not None
    assert evaluated.answerability.auroc == 1.0
    assert 0 < evaluated.latency.p50_ms <= evaluated.latency.p95_ms
    saved = json.loads(Path(evaluated.report).read_text(encoding="utf-8"))
    assert saved == evaluated.model_dump(mode="json")
    lines = list(read_records(Path(evaluated.questions), AskedQuestion))
    assert [line.rank is not None for line in lines] == [True] * 4 + [False] * 2
    assert lines[0].found == "harbour.md"
    assert lines[0].answerable > lines[4].answerable
    events = town.emit.__self__.events  # type: ignore[attr-defined]
    assert Progress(stage="asking questions", done=6, total=6) in events


class PageParser(HTMLParser):
    """What a page is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data


def test_page(evaluated: EvaluateDocumentsReport) -> None:
    """The page is one file without scripts, with plots, tables and escaped questions."""
    html = Path(evaluated.page).read_text(encoding="utf-8")
    page = PageParser(html)
    assert page.tags.isdisjoint({"script", "img", "link", "iframe"})
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert html.count("<svg") == 3
    for said in ("reciprocal rank fusion", "BM25", "图书馆.md", "AUROC", "Every question found a right passage"):
        assert said in page.text
    assert "#a1b2" not in html


def test_missed_questions_are_shown(evaluated: EvaluateDocumentsReport) -> None:
    """A missed question is on the page, escaped, with what was found in its place."""
    line = AskedQuestion(
        question=HOSTILE, language="en", document="a.md", rank=None, ranks={}, found="b.md", passage=HOSTILE,
        answerable=0.5, ms=1.0,
    )  # fmt: skip
    report = evaluated.model_copy(
        update={"missed": [line], "missed_count": 30, "answerability": None, "outside": 2, "is_tuned": True}
    )
    html = render_page(report, [asked((1,))])
    page = PageParser(html)
    assert page.tags.isdisjoint({"script", "img"})
    assert HOSTILE in page.text
    assert "30 of 4 questions" in page.text
    assert "nothing is known about refusals" in page.text
    for said in ("2 questions have a place in no passage", "was fitted to this collection"):
        assert any(said in each.text for each in find(report))


def test_terminal_shows_figures(evaluated: EvaluateDocumentsReport) -> None:
    """The terminal shows each way of searching, the worst documents, and where the page is."""
    file = io.StringIO()
    console = Console(file=file, width=120)
    for each in render(evaluated, lambda text, **values: text.format(**values)):
        console.print(each)
    shown = file.getvalue()
    for said in ("as the chatbot searches", "nDCG@10", "museum.md", "AUROC 1.000", "wrongly answered"):
        assert said in shown
    assert "report.html" in shown.replace("\n", "")


def test_only_what_is_used_counts_as_fitted(town: Context, evaluated: EvaluateDocumentsReport) -> None:
    """A tuning that kept the defaults, or that belongs to a former embedder, changes no figure."""
    folder = town.workspace.knowledge("default")
    with opened_retriever(town, "default") as retriever:
        kept = default_tuning(retriever.embedder)
    fitted = kept.model_copy(update={"weights": Weights(dense=0.3)})
    told = []
    try:
        for tuning in (kept, fitted.model_copy(update={"embedder": "former"}), fitted):
            save_tuning(tuning, folder)
            told.append(start(town, town.workspace.root / "own.jsonl").is_tuned)
    finally:
        (folder / TUNING).unlink()
    assert told == [False, False, True]


def test_same_questions_give_the_same_figures(town: Context, evaluated: EvaluateDocumentsReport) -> None:
    """An evaluation can be repeated; only times differ."""
    again = start(town, town.workspace.root / "own.jsonl")
    different = {"seconds", "latency", "missed"}
    assert again.model_dump(exclude=different) == evaluated.model_dump(exclude=different)


def test_table_of_questions(town: Context, tmp_path: Path) -> None:
    """A CSV file from a spreadsheet, with a byte order mark and empty cells, says the same as JSONL."""
    path = tmp_path / "own.csv"
    path.write_text(
        "\ufeffquestion,document,quote,start,end,passage,answerable,language\r\n"
        'Closed when?,museum.md,"The museum is closed on Tuesdays.",,,,,\r\n'
        "Who pays?,harbour.md,,20,60,,,zh\r\n"
        "Why?,,,,,,no,\r\n",
        encoding="utf-8",
    )
    first, second, third = read(town, path).questions
    [(place,)] = first.targets
    assert place.start is not None
    assert place.document == "museum.md"
    assert (second.targets, second.language) == (((Place("harbour.md", 20, 60),),), "zh")
    assert not third.is_answerable


def test_passage_of_a_question(town: Context, tmp_path: Path) -> None:
    """A passage's id, as `docs search` prints it, is a known place."""
    with opened_ledger(town, "default") as ledger:
        wanted = ledger.chunks()[0]
    path = write_lines(tmp_path / "own.jsonl", [{"question": "Which?", "passage": wanted.id}])
    [question] = read(town, path).questions
    assert question.targets == ((Place(wanted.document, wanted.start, wanted.end),),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"question": "Why?"}, 'line 2: expected "document", or "answerable": false'),
        ({"question": "Why?", "document": "nowhere.md"}, "line 2: the collection holds no document 'nowhere.md'"),
        ({"question": "Why?", "document": "museum.md", "quote": "No such."}, "line 2: this quote does not stand in"),
        ({"question": "Why?", "document": "museum.md", "start": 5}, "line 2: expected 0 <= start < end <="),
        ({"question": "Why?", "document": "museum.md", "start": 5, "end": 99_999}, "got 5 and 99999"),
        ({"question": "Why?", "passage": "unknown"}, "line 2: the collection holds no passage 'unknown'"),
        ({"question": "Why?", "document": "museum.md", "qoute": "x"}, "line 2: qoute: Extra inputs"),
        ({"question": "", "document": "museum.md"}, "line 2: question: String should have at least 1"),
        ({"document": "museum.md"}, "line 2: question: Field required"),
    ],
)
def test_bad_lines_are_named(town: Context, tmp_path: Path, line: dict[str, object], said: str) -> None:
    """What is wrong with which line is said."""
    path = write_lines(tmp_path / "own.jsonl", [{"question": "Good?", "document": "museum.md"}, line])
    with pytest.raises(DataError) as raised:
        read(town, path)
    assert said in str(raised.value)
    assert "Fields are question, document" in raised.value.hint


def test_all_bad_lines_are_counted(town: Context, tmp_path: Path) -> None:
    """The first bad lines are named and the others counted."""
    path = write_lines(tmp_path / "own.jsonl", [{"question": "Why?"}] * 8)
    with pytest.raises(DataError, match=r"line 5: .*and 3 lines more"):
        read(town, path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("own.jsonl", b'{"question": "a"\n', "line 1 is not JSON"),
        ("own.jsonl", b"\xff\xfe\x00", "is not UTF-8"),
        ("own.jsonl", b"[1, 2]\n", "line 1: expected an object"),
        ("own.jsonl", b'{"question": "Why?", "answerable": false}\n', "no question that this collection answers"),
        ("own.csv", b'question,document\n"open,x\n', "is not CSV"),
        ("missing.jsonl", None, "cannot read"),
    ],
)
def test_unusable_files(town: Context, tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    """A file that cannot be used is refused, with what is wrong."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(town, tmp_path / name)


def test_place_in_a_heading(tmp_path: Path) -> None:
    """A place that no chunk holds is counted: nothing can find it."""
    document = Document(
        id="a.md", source="a.md", title="a", sha256="", text="Title\n\nSome text.", headings=((0, 1, "Title"),)
    )
    ledger = KnowledgeLedger(tmp_path / "ledger")
    ledger.replace(document, chunk_document(document), root="")
    lines: list[dict[str, object]] = [
        {"question": "A?", "document": "a.md", "quote": "Title"},
        {"question": "B?", "document": "a.md", "quote": "Some text."},
    ]
    assert read_file(write_lines(tmp_path / "own.jsonl", lines), ledger).outside == 1
    ledger.close()


def example(question: str, kind: ExampleKind, quotes: tuple[Quote, ...] = (), sources: tuple[str, ...] = ()) -> Example:
    """An example of a dataset."""
    return Example(
        id=content_id(question), kind=kind, question=question, answer="-", quotes=quotes, sources=sources,
        teacher="test", prompt="test@1",
    )  # fmt: skip


def quote_of(text: str, document: str, whole: str, *, shift: int = 0) -> Quote:
    """A quote with its place, or beside it."""
    begin = whole.index(text) + shift
    return Quote(document=document, quote=text, start=begin, end=begin + len(text))


def test_dataset_of_these_documents(town: Context) -> None:
    """Examples give places by quote or source, moved quotes are found again, and foreign ones are left out."""
    with opened_ledger(town, "default") as ledger:
        text = ledger.document("museum.md").text
        source = next(each for each in ledger.chunks() if "skeleton" in each.text)
    folder = town.workspace.dataset("town")
    folder.mkdir(parents=True)
    write_records(folder / "chunks.jsonl", [source])
    examples = [
        example("When?", ExampleKind.GROUNDED, (quote_of(CLOSED, "museum.md", text),)),
        example("Is it open on Tuesdays?", ExampleKind.FALSE_PREMISE, (quote_of(CLOSED, "museum.md", text, shift=3),)),
        example("Where is the whale?", ExampleKind.GROUNDED, (), (source.id,)),
        example("Who paints?", ExampleKind.UNANSWERABLE, (), (source.id,)),
        example("Elsewhere?", ExampleKind.GROUNDED, (quote_of(CLOSED, "other.md", text),)),
        example("Sort this", ExampleKind.CLASSIFICATION),
    ]
    write_records(folder / "examples.jsonl", examples)
    with opened_ledger(town, "default") as ledger:
        read_back = read_dataset(folder, ledger)
    assert [each.question for each in read_back.questions] == [each.question for each in examples[:4]]
    begin = text.index(CLOSED)
    assert read_back.questions[0].targets == read_back.questions[1].targets
    assert read_back.questions[0].targets == ((Place("museum.md", begin, begin + len(CLOSED)),),)
    assert read_back.questions[2].targets == ((Place("museum.md", source.start, source.end),),)
    assert (read_back.questions[3].is_answerable, read_back.left_out) == (False, 1)
    report = start(town, None, dataset="town")
    assert (report.n, report.n_unanswerable, report.left_out, report.source) == (3, 1, 1, "town")


def test_questions_come_from_one_place(town: Context) -> None:
    """Neither no source of questions nor two are taken; an unknown dataset is named."""
    with pytest.raises(SettingsError, match="from a file or from a dataset"):
        start(town, None)
    with pytest.raises(SettingsError, match="from a file or from a dataset"):
        start(town, Path("own.jsonl"), dataset="town")
    with pytest.raises(DataError, match="there is no dataset"):
        start(town, None, dataset="nothing")
