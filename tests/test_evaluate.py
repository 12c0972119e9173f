"""Evaluation: the statistics, what each kind is scored by, leaks, forgetting, memorisation, and the page."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from transformers import AutoConfig, AutoModelForCausalLM

from pipelines.errors import ApprovalRequired, DataError, SettingsError
from pipelines.evaluation.arms import ArmResult, few_shot_messages, mean_loss
from pipelines.evaluation.artefact import artefact_hash
from pipelines.evaluation.card import CARD, About, write_card
from pipelines.evaluation.compare import Comparison, summarize
from pipelines.evaluation.evaluate import ANSWERS, EVALUATE_ADAPTER, EvaluateParams, read_arms
from pipelines.evaluation.forgetting import GeneralText, measure_forgetting, read_general_texts
from pipelines.evaluation.judge import judge_arms
from pipelines.evaluation.leaks import without_leaks
from pipelines.evaluation.memorisation import RUN_WORDS, count_echoes
from pipelines.evaluation.page import PAGE, extremes, findings, plot_of, render_page
from pipelines.evaluation.report import (
    ARM_NAMES,
    ArmScores,
    EvaluateReport,
    Interval,
    JudgedQuestion,
    Leaks,
    Power,
    RightWrong,
)
from pipelines.evaluation.retrieval import find_passages
from pipelines.evaluation.scores import AnswerScore, common_subsequence, metric_of, rouge_l, score_answer
from pipelines.evaluation.statistics import mcnemar_p, smallest_difference
from pipelines.evaluation.trial import read_material
from pipelines.models.attention import register_attention
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.local import LocalEngine, load_tokenizer, open_engine
from pipelines.models.packing import pack_examples
from pipelines.models.render import Rendered, encode_text, end_token, render_example
from pipelines.operation import Context, Progress, open_context
from pipelines.prompting import answer_messages, refusal
from pipelines.quotes import format_citation
from pipelines.records import Chunk, Example, ExampleKind, Message, write_records
from pipelines.settings import SETTINGS_FILE
from pipelines.workspace import Workspace
from tests.conftest import Recorder, make_context
from tests.fake_openai import FakeOpenAI, Recorded
from tests.rule_teacher import use_teacher
from tests.test_dataset import make_example, make_house, question_about, sentence_about
from tests.test_docs import packaged_embedder
from tests.test_training import new_run

WORDS = st.lists(st.sampled_from("abc"), max_size=9)
HOSTILE = '<script>alert("x")</script> & <img src=x onerror=alert(1)> | [a](javascript:b) `c`'


# ---- statistics


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 5, 1.0), (5, 0, 2 / 32), (10, 2, 2 * (1 + 12 + 66) / 4096), (0, 6, 2 / 64)],
)
def test_mcnemar_is_a_fair_coin(first: int, second: int, expected: float) -> None:
    """The p-value is the two tails of a binomial with one half."""
    assert mcnemar_p(first, second) == pytest.approx(expected)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_knows_no_sides(first: int, second: int) -> None:
    """Exchanging the two changes nothing, and a further difference on the leading side makes chance less likely."""
    p = mcnemar_p(first, second)
    assert 0 < p <= 1
    assert p == pytest.approx(mcnemar_p(second, first))
    if first > second:
        assert mcnemar_p(first + 1, second) < p


def test_the_smallest_difference_is_what_such_a_test_finds() -> None:
    """Simulated tests with a true difference of that size find it eight times of ten."""
    rng = numpy.random.default_rng(0)
    differences = rng.normal(0, 0.4, size=60)
    smallest = smallest_difference(list(differences), [0.0] * 60)
    assert smallest == pytest.approx((1.959964 + 0.841621) * differences.std(ddof=1) / math.sqrt(60), rel=1e-5)
    spread = differences.std(ddof=1)
    drawn = rng.normal(smallest, spread, size=(2_000, 60))
    found = stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [0.0]), ([0.5, 1.0], [0.0, 0.5])])
def test_what_does_not_vary_has_no_smallest_difference(first: list[float], second: list[float]) -> None:
    """Of one question, or of the same difference everywhere, no spread can be told."""
    assert smallest_difference(first, second) is None


# ---- scores


def longest(first: list[str], second: list[str]) -> int:
    """Return the longest common subsequence by its definition."""
    if not first or not second:
        return 0
    if first[0] == second[0]:
        return 1 + longest(first[1:], second[1:])
    return max(longest(first[1:], second), longest(first, second[1:]))


@given(WORDS, WORDS)
def test_the_common_subsequence_is_the_longest(first: list[str], second: list[str]) -> None:
    """The bits find what trying everything finds."""
    assert common_subsequence(first, second) == longest(first, second)


@pytest.mark.parametrize(
    ("said", "wanted", "expected"),
    [
        ("police kill the gunman", "police killed the gunman", 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("the cat", "the cat sat on the mat", 2 * 2 / 8),
        ("我喜欢红茶", "我喜欢绿茶", 4 / 5),
        ("", "police", 0.0),
        ("x", "", 0.0),
    ],
)
def test_rouge_l_follows_the_order_of_words(said: str, wanted: str, expected: float) -> None:
    """The first two are the examples of the paper; a Chinese character is a word."""
    assert rouge_l(said, wanted) == pytest.approx(expected)


def free(kind: ExampleKind, question: str, answer: str, *, number: int = 0) -> Example:
    """Return an example without passages."""
    turns = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Example(
        id=f"{kind}-{number}", kind=kind, question=question, answer=answer, messages=turns, teacher="t", prompt="p@1"
    )


@pytest.mark.parametrize(
    ("kind", "said", "value", "right"),
    [
        (ExampleKind.INSTRUCTION, "Red, green and purple.", 6 / 8, True),
        (ExampleKind.CONVERSATION, "Purple.", 0.0, False),
        (ExampleKind.CLASSIFICATION, "red, GREEN and blue!", 1.0, True),
        (ExampleKind.CLASSIFICATION, "It is red, green and blue.", 0.0, False),
        (ExampleKind.UNANSWERABLE, "The documents do not answer this.", 1.0, True),
        (ExampleKind.UNANSWERABLE, "Red, green and blue.", 0.0, False),
    ],
)
def test_each_kind_has_its_metric(kind: ExampleKind, said: str, value: float, right: bool) -> None:
    """Free text by ROUGE-L, labels to the letter, and where nothing answers, refusing."""
    score = score_answer(said, free(kind, "Which colours?", "Red, green and blue."), [])
    assert (score.value, score.is_right) == (pytest.approx(value), right)


# ---- the tuned model against the stronger of its rivals


def scored(values: Sequence[float], test: Sequence[Example], **changes: object) -> ArmResult:
    """Return an arm whose answers have these scores."""
    plain = AnswerScore(metric="rouge_l", value=0, quote_f1=0, exact_match=0, is_refused=False, is_proved=False)
    scores = tuple(
        dataclasses.replace(plain, metric=metric_of(example), value=value, **changes)
        for value, example in zip(values, test, strict=True)
    )
    return ArmResult(name="arm", answers=tuple(f"says {value}" for value in values), scores=scores, loss=1.25)


def compared_arms() -> tuple[dict[str, ArmResult], list[Example]]:
    """Return three arms on eight tasks and one question that has no answer, where only the base is right."""
    test = [free(ExampleKind.INSTRUCTION, f"Task {number}?", "Wanted.", number=number) for number in range(8)]
    test.append(free(ExampleKind.UNANSWERABLE, "And what else?", refusal("en")))
    values = {
        "base": [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9, 1.0],
        "few_shot": [0.2, 0.6, 0.1, 0.3, 0.1, 0.2, 0.7, 0.1, 0.0],
        "tuned": [0.9, 0.8, 0.9, 0.7, 0.6, 0.9, 0.2, 0.5, 0.0],
    }
    return {name: scored(each, test) for name, each in values.items()}, test


def test_the_stronger_rival_is_compared_with() -> None:
    """By the mean of what can be answered; right and wrong are counted over all questions, each for its side."""
    results, test = compared_arms()
    found = Comparison(results, test, seed=0)
    assert (found.stronger, found.verdict, found.metric) == ("few_shot", "better", "score")
    assert [found.mean(name) for name in results] == [0.2, 0.2875, 0.6875]
    assert found.power.mean_difference == 0.4
    assert 0 < found.difference.low < 0.4 < found.difference.high
    counts = found.mcnemar
    assert (counts.tuned_only, counts.other_only, counts.both, counts.neither, counts.n) == (6, 1, 1, 1, 9)
    assert counts.p_value == 0.125
    assert counts.against == "few_shot"


def test_a_verdict_needs_the_whole_interval() -> None:
    """Worse where all of it is below zero; neither where zero lies within."""
    results, test = compared_arms()
    turned = {"base": results["base"], "few_shot": results["tuned"], "tuned": results["few_shot"]}
    found = Comparison(turned, test, seed=0)
    assert (found.verdict, found.mcnemar.tuned_only, found.mcnemar.other_only) == ("worse", 1, 6)
    assert found.difference.low < -0.4 < found.difference.high < 0
    same = scored([0.3, 0.5, 0.2, 0.2, 0.2, 0.1, 0.6, 0.2, 0.0], test)
    assert Comparison({**results, "tuned": same}, test, seed=0).verdict == "inconclusive"


def test_an_arm_is_summed_up_by_what_each_question_asks() -> None:
    """Refusals count where nothing answers, and against the arm where something does."""
    results, test = compared_arms()
    refusing = scored([0.0] * 8 + [1.0], test, is_refused=True)
    found = summarize(refusing)
    assert (found.correct_refusals, found.wrong_refusals, found.n, found.loss) == (1.0, 1.0, 9, 1.25)
    tuned = summarize(results["tuned"])
    assert (tuned.score, tuned.rouge_l, tuned.right) == (0.6875, 0.6875, 0.7778)
    assert (tuned.correct_refusals, tuned.wrong_refusals, tuned.quote_f1) == (0.0, 0.0, 0.0)
    silent = dataclasses.replace(results["tuned"], scores=(None, *results["tuned"].scores[1:]))
    assert (summarize(silent).n, summarize(silent).score) == (8, 0.6571)


# ---- leaks, echoes, the general texts


def test_what_was_trained_on_is_left_out() -> None:
    """A question counts as known in any case and punctuation; the same task on other material does not."""
    chunks, [asked, other] = make_house(2)
    shown = asked.model_copy(update={"chunks": (chunks[0].id,)})
    again = shown.model_copy(update={"question": shown.question.upper() + "!!"})
    new = other.model_copy(update={"chunks": (chunks[1].id,)})
    first = free(ExampleKind.INSTRUCTION, "Summarise: the cat sat.", "A cat.")
    second = free(ExampleKind.INSTRUCTION, "Summarise: the dog ran.", "A dog.").model_copy(
        update={"question": first.question}
    )
    kept, leaks = without_leaks([again, new, second], [shown, first])
    assert kept == [new, second]
    assert (leaks.count, leaks.examples) == (1, [again.question])


def test_what_validated_is_left_out_as_well(context: Context) -> None:
    """Weights were chosen by it; and of what is left, no more is asked than is wanted."""
    folder = write_house(context)
    with (folder / "test.jsonl").open("a", encoding="utf-8") as file:
        file.write((folder / "validation.jsonl").read_text(encoding="utf-8"))
    material = read_material(folder, questions=4)
    assert material.leaks == Leaks(count=2, examples=[question_about(0), question_about(5)])
    assert len(material.test) == 4
    assert len(read_material(folder, questions=99).test) == 6


def test_an_echo_is_what_only_training_holds() -> None:
    """Words of a training answer count where neither the passages nor the right answer have them."""
    learnt = free(ExampleKind.INSTRUCTION, "Learnt?", "one two three four five six seven eight nine ten")
    asked = free(ExampleKind.INSTRUCTION, "Asked?", "Something else.")
    holding = free(ExampleKind.INSTRUCTION, learnt.answer, "Something else.")
    said = f"Well, {learnt.answer}"
    runs = 11 - RUN_WORDS["en"] + 1
    assert count_echoes([said], [asked], [learnt]) == (1, pytest.approx((runs - 1) / runs))
    assert count_echoes([said], [holding], [learnt]) == (0, 0.0)
    assert count_echoes(["one two three four"], [asked], [learnt]) == (0, 0.0)
    refused = free(ExampleKind.UNANSWERABLE, "Who?", refusal("en"))
    assert count_echoes([refusal("en")], [asked], [refused]) == (0, 0.0)


def test_the_general_texts_are_of_all_sorts() -> None:
    """Both kinds in both languages, none twice."""
    texts = read_general_texts()
    counts = {(text.kind, text.language) for text in texts}
    assert counts == {(kind, language) for kind in ("text", "instruction") for language in ("en", "zh")}
    assert len(texts) == len({text.text for text in texts}) == 48
    assert all(bool(text.asked) == (text.kind == "instruction") for text in texts)


def drawn_engine(folder: Path, *, spread: float) -> LocalEngine:
    """Return a model in float32 whose predictions are the farther from even, the wider its weights are spread."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder, initializer_range=spread)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=register_attention())
    return LocalEngine(model, load_tokenizer(folder), name="drawn")


def test_forgetting_is_measured_from_the_base(tiny: Path) -> None:
    """The divergence is that of the tuned model from the base, and not the other way round."""
    base, tuned = (drawn_engine(tiny, spread=spread) for spread in (1.0, 0.05))
    text = GeneralText(kind="text", language="en", text="Water boils at a lower temperature on a mountain.")
    asked = GeneralText(kind="instruction", language="en", asked="Name a colour.", text="Red is one of them.")
    turns = (Message(role="user", content=asked.asked), Message(role="assistant", content=asked.text))
    words = (end_token(base.tokenizer), *encode_text(base.tokenizer, text.text))
    rendered = [Rendered(prompt=words[:1], answer=words[1:]), render_example(base.tokenizer, turns)]
    parts = []
    with torch.no_grad():
        for each in rendered:
            before, after = (
                engine.model(input_ids=torch.tensor([each.prompt + each.answer]))
                .logits[0, len(each.prompt) - 1 : -1]
                .log_softmax(-1)
                for engine in (base, tuned)
            )
            places = torch.arange(len(each.answer)), torch.tensor(each.answer)
            divergence, turned = ((p.exp() * (p - q)).sum() for p, q in ((before, after), (after, before)))
            assert abs(divergence / turned - 1) > 0.2
            parts.append((-before[places].sum(), -after[places].sum(), divergence, len(each.answer)))
    done: list[int] = []
    found = measure_forgetting(base, tuned, [text, asked], progress=done.append)
    assert done == [1, 2]
    for part, (before, after, divergence, tokens) in zip(found.parts, parts, strict=True):
        wanted = [float(each / tokens) for each in (before, after, divergence)]
        assert [part.base, part.tuned, part.kl] == pytest.approx(wanted, rel=1e-3)
        assert part.tokens == tokens
    before, after, divergence, tokens = (sum(each) for each in zip(*parts, strict=True))
    whole = [float(each / tokens) for each in (before, after, divergence)]
    assert [found.base, found.tuned, found.kl] == pytest.approx(whole, rel=1e-3)


def test_arms_are_read_in_their_order() -> None:
    """The three that the verdict needs are always there; what is unknown is refused by name."""
    assert read_arms("closest , tuned_retrieval") == ("base", "few_shot", "tuned", "closest", "tuned_retrieval")
    assert set(read_arms(",".join(ARM_NAMES))) == set(ARM_NAMES)
    with pytest.raises(SettingsError, match="'tune' is no arm"):
        read_arms("tune")


def test_an_artefact_is_a_model(tmp_path: Path) -> None:
    """What is neither a GGUF file nor the folder of a model is refused."""
    (tmp_path / "notes.txt").write_text("no model")
    for path in (tmp_path, tmp_path / "notes.txt", tmp_path / "none.gguf"):
        with pytest.raises(DataError, match="no exported model"):
            artefact_hash(path)


# ---- the page and the card


class Page(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.said = ""
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element's name, and the names of its attributes."""
        self.tags.append(tag)
        self.attributes |= {name for name, _value in attrs}

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.said += data


def made_up(**changes: object) -> EvaluateReport:
    """Return a report of nothing."""
    scores = ArmScores(
        quote_f1=0.5, exact_match=0.5, correct_refusals=None, wrong_refusals=0.0, proved=0.5, loss=None, score=0.5
    )
    report = EvaluateReport(
        base=0.5,
        few_shot=0.4,
        tuned=0.6,
        difference=Interval(low=-0.1, high=0.3),
        verdict="inconclusive",
        summary="The tuned model may be better or not: the test cannot tell.",
        n=20,
        n_unanswerable=2,
        arms={"base": scores, "few_shot": scores, "tuned": scores},
        report="answers.jsonl",
        seconds=1.0,
        mcnemar=RightWrong(n=22, tuned_only=4, other_only=2, both=10, neither=6, p_value=0.6875),
        power=Power(mean_difference=0.1, smallest_difference=0.28),
    )
    return report.model_copy(update=changes)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """What models, documents and names say neither becomes an element of the page nor active in the card."""
    question = JudgedQuestion(
        question=HOSTILE,
        wanted=HOSTILE,
        answers={"base": HOSTILE, "tuned": HOSTILE},
        scores={"base": 0.0, "tuned": 1.0},
    )
    about = About(adapter=HOSTILE, base="/home/ada/models/small", dataset=HOSTILE)
    report = made_up(leaks=Leaks(count=1, examples=[HOSTILE]))
    text = render_page(report, [question], about)
    page = Page(text)
    assert not {"script", "img", "a", "link", "iframe"} & set(page.tags)
    assert not {name for name in page.attributes if name.startswith("on") or name in ("src", "href")}
    assert page.said.count('alert("x")') >= 6
    assert "/home/ada" not in text
    write_card(report, about, tmp_path)
    card = (tmp_path / CARD).read_text(encoding="utf-8")
    body = card.split("---\n", 2)[2]
    assert "<" not in body
    assert "](javascript" not in body
    assert "/home/ada" not in card


@pytest.mark.parametrize("smallest", [None, 0.28, 2.5])
@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.3), (0.0, 0.0), (-1.0, -0.9)])
def test_the_plot_keeps_its_proportions(low: float, high: float, smallest: float | None) -> None:
    """The interval, its middle and zero lie on the axis, in their order."""
    mean = (low + high) / 2
    report = made_up(
        difference=Interval(low=low, high=high), power=Power(mean_difference=mean, smallest_difference=smallest)
    )
    plot = plot_of(report)
    assert 0 <= plot.low.x <= plot.mean.x <= plot.high.x <= plot.width
    assert plot.zero == plot.width / 2
    assert (plot.high.x < plot.zero) == (high < 0)
    assert [tick.x for tick in plot.ticks] == sorted(tick.x for tick in plot.ticks)
    assert (plot.unseen is None) == (smallest is None)


def test_the_findings_are_said_in_words() -> None:
    """An unclear result says what it could not have seen, and a leak is a problem."""
    said = dict(reversed([(text, level) for level, text in findings(made_up(leaks=Leaks(count=2)))]))
    assert any("below 0.280 would probably not have been seen" in text for text in said)
    assert [level for text, level in said.items() if "stand in other splits" in text] == ["bad"]


def test_the_extremes_are_the_largest_differences() -> None:
    """Best first where the tuned model gained, worst first where it lost; equal ones are in neither."""
    scores = {"a": (0.0, 1.0), "b": (0.5, 0.5), "c": (0.9, 0.1), "d": (0.2, 0.4), "e": (1.0, 0.0)}
    questions = [
        JudgedQuestion(question=name, wanted="", answers={}, scores={"few_shot": other, "tuned": tuned})
        for name, (other, tuned) in scores.items()
    ]
    best, worst = extremes(questions, "few_shot")
    assert [each.question for each in best] == ["a", "d"]
    assert [each.question for each in worst] == ["e", "c"]


def test_few_shot_examples_show_a_refusal() -> None:
    """Three that are answered and one that is not, as turns without the system's message."""
    chunks, _examples = make_house(6)
    train = [composed(number, chunks, answered=number != 2) for number in range(6)]
    turns = few_shot_messages(train)
    assert [turn.role for turn in turns] == ["user", "assistant"] * 4
    assert [turn.content == refusal("en") for turn in turns[1::2]] == [False, False, False, True]


def test_a_search_finds_what_a_question_is_about(context: Context) -> None:
    """Of all chunks, those that answer come first."""
    chunks, examples = make_house(12)
    by_id = {chunk.id: chunk for chunk in chunks}
    questions = [example.question for example in examples]
    found = find_passages(questions, by_id, packaged_embedder(), context, top_k=2)
    assert [passages[0].id for passages in found] == [example.source for example in examples]
    assert {len(passages) for passages in found} == {2}
    assert find_passages(["Where?"], {}, packaged_embedder(), context, top_k=2) == [[]]


# ---- end to end


def composed(number: int, chunks: list[Chunk], *, answered: bool = True) -> Example:
    """Return an example about one fact of the house, as curation composes it."""
    own, other = chunks[number], chunks[(number + 1) % len(chunks)]
    shown = [other, own] if answered else [other]
    question, sentence = question_about(number), sentence_about(number)
    answer = format_citation(sentence, 2) if answered else refusal("en")
    closest = format_citation(sentence if answered else other.text, len(shown))
    messages = (
        *answer_messages(question, shown, closest=closest),
        Message(role="assistant", content=answer),
    )
    changes = {"answer": answer, "messages": messages, "chunks": tuple(chunk.id for chunk in shown)}
    if not answered:
        changes |= {"kind": ExampleKind.UNANSWERABLE, "quotes": ()}
    return make_example(question, sentence, own).model_copy(update=changes)


def write_house(context: Context) -> Path:
    """Write a dataset of several kinds whose test holds one question of its training split."""
    chunks, _examples = make_house(12)
    folder = context.workspace.dataset("house")
    folder.mkdir(parents=True)
    write_records(folder / "chunks.jsonl", chunks)
    colours = [
        free(ExampleKind.CLASSIFICATION, f"Label: the {colour} one", "colour", number=number)
        for number, colour in enumerate(("red", "blue", "green"))
    ]
    tasks = [
        free(ExampleKind.INSTRUCTION, f"Say {word} twice.", f"{word} {word}", number=number)
        for number, word in enumerate(("bell", "stool"))
    ]
    train = [*(composed(number, chunks) for number in range(4)), *colours[:2], tasks[0]]
    test = [
        *(composed(number, chunks) for number in (6, 7, 8)),
        composed(9, chunks, answered=False),
        train[0],
        colours[2],
        tasks[1],
    ]
    write_records(folder / "train.jsonl", train)
    write_records(folder / "validation.jsonl", [composed(5, chunks)])
    write_records(folder / "test.jsonl", test)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two small layers with random weights, and the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    source = open_context(folder.parent).models.base_folder(DEFAULT_BASE_MODEL)
    config = AutoConfig.from_pretrained(source)
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16}
    config.update({**small, "num_attention_heads": 4, "num_key_value_heads": 2})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, EvaluateReport, Recorder]:
    """An evaluation with all arms of an adapter that was trained for a few steps; the base is its artefact."""
    recorder = Recorder()
    workspace = Workspace(tmp_path_factory.mktemp("house"))
    workspace.make()
    with (workspace.root / SETTINGS_FILE).open("a", encoding="utf-8") as file:
        file.write("threads = 1\n")  # two threads over layers this small wait for each other most of the time
    context = open_context(workspace.root, emit=recorder.emit, confirm=recorder.confirm)
    write_house(context)
    tokenizer = load_tokenizer(tiny)
    turns = [
        (Message(role="user", content=f"Say {word} twice."), Message(role="assistant", content=f"{word} {word}"))
        for word in ("bell", "clog", "spoon", "flour")
    ]
    packs = pack_examples([render_example(tokenizer, each) for each in turns], max_tokens=512)
    adapter = context.workspace.adapter("house")
    adapter.mkdir(parents=True)
    run = new_run(tiny, packs, adapter, epochs=3)
    run.train(lambda step: None)
    run.save_adapter()
    params = EvaluateParams(adapter="house", base=str(tiny), arms=",".join(ARM_NAMES), artefact=tiny)
    return context, EVALUATE_ADAPTER.start(params, context), recorder


Evaluated = tuple[Context, EvaluateReport, Recorder]


def test_every_arm_is_scored(evaluated: Evaluated) -> None:
    """All arms stand in the report; the artefact, which is the base, scores as the base does."""
    _context, report, _recorder = evaluated
    assert list(report.arms) == [*ARM_NAMES, "artefact"]
    assert report.arms["artefact"] == report.arms["base"]
    assert (report.n, report.n_unanswerable, report.metric) == (5, 1, "score")
    for name, arm in report.arms.items():
        assert (arm.loss is None) == (name == "closest" or name.endswith(("retrieval", "closed_book")))
    assert report.arms["base_retrieval"].retrieved == 1.0
    assert report.arms["base_retrieval"].correct_refusals is None
    assert report.arms["base_retrieval"].n == 5
    assert report.arms["closest"].quote_f1 > 0.9
    assert report.tuned == report.arms["tuned"].score


def test_kinds_are_told_apart(evaluated: Evaluated) -> None:
    """Each kind has its metric and its count, and what was learnt shows where it was learnt."""
    _context, report, _recorder = evaluated
    found = {(line.kind.value, line.metric): line.n for line in report.kinds}
    assert found == {
        ("classification", "exact_match"): 1,
        ("grounded", "quote_f1"): 3,
        ("instruction", "rouge_l"): 1,
        ("unanswerable", "refusal"): 1,
    }
    pairs = report.mcnemar
    assert pairs.n == pairs.both + pairs.neither + pairs.tuned_only + pairs.other_only == 6


def test_a_leak_is_left_out_loudly(evaluated: Evaluated) -> None:
    """The test question that was trained on counts nowhere, and three places say so."""
    context, report, recorder = evaluated
    assert report.leaks == Leaks(count=1, examples=[question_about(0)])
    assert "left out" in report.summary
    assert any("left out" in getattr(event, "message", "") for event in recorder.events)
    lines = (context.workspace.adapter("house") / ANSWERS).read_text(encoding="utf-8").splitlines()
    assert question_about(0) not in [json.loads(line)["question"] for line in lines]


def test_tuning_is_seen_on_general_texts(evaluated: Evaluated, tiny: Path) -> None:
    """Another model predicts otherwise: the divergence is positive, and the losses differ."""
    context, report, _recorder = evaluated
    forgetting, memorised = report.forgetting, report.memorisation
    assert forgetting is not None
    assert memorised is not None
    assert forgetting.kl > 0
    assert [part.tuned for part in forgetting.parts] != [part.base for part in forgetting.parts]
    assert sum(part.tokens for part in forgetting.parts) == forgetting.tokens
    assert len(forgetting.parts) == 4
    mixed = sum(part.base * part.tokens for part in forgetting.parts) / forgetting.tokens
    assert mixed == pytest.approx(forgetting.base, abs=1e-3)
    assert memorised.train_records == 7
    train = read_material(context.workspace.dataset("house"), questions=99).train
    for name, adapter in (("base", None), ("tuned", context.workspace.adapter("house"))):
        engine = open_engine(tiny, name=name, adapter=adapter)
        assert memorised.train_loss[name] == pytest.approx(mean_loss(engine, train), abs=1e-3)
    for name in ("base", "tuned"):
        assert memorised.test_loss[name] == report.arms[name].loss
        assert memorised.gap[name] == pytest.approx(memorised.test_loss[name] - memorised.train_loss[name], abs=1e-3)


def test_the_page_and_the_card_are_written(evaluated: Evaluated) -> None:
    """Both stand in the adapter's folder, and the page has all its sections and loads nothing."""
    context, report, recorder = evaluated
    folder = context.workspace.adapter("house")
    page = Page((folder / PAGE).read_text(encoding="utf-8"))
    assert (report.page, report.card) == (str(folder / PAGE), str(folder / CARD))
    for title in ("Difference", "Arms", "By kind", "Right and wrong", "Forgetting", "Learnt by heart", "Side by side"):
        assert title in page.said
    assert "src" not in page.attributes
    card = (folder / CARD).read_text(encoding="utf-8")
    assert card.startswith("---\nbase_model: tiny-llama\n")
    stages = {event.stage for event in recorder.events if isinstance(event, Progress)}
    assert {"evaluating base", "evaluating few-shot", "evaluating tuned", "evaluating tuned retrieval"} <= stages


def test_evaluating_again_does_nothing(evaluated: Evaluated, tiny: Path) -> None:
    """The same evaluation is not made twice."""
    context, report, _recorder = evaluated
    params = EvaluateParams(adapter="house", base=str(tiny), arms=",".join(ARM_NAMES), artefact=tiny)
    assert EVALUATE_ADAPTER.start(params, context) == report


# ---- the judge


def judged(most: int) -> tuple[list[Example], list[JudgedQuestion]]:
    """Return tasks on which the tuned model said something else than the base, and one on which it did not."""
    test = [free(ExampleKind.INSTRUCTION, f"Task {number}?", "Wanted.", number=number) for number in range(most)]
    questions = [
        JudgedQuestion(question=example.question, wanted="Wanted.", answers={"base": "dull", "tuned": "bright"})
        for example in test
    ]
    questions[-1].answers["tuned"] = "dull"
    return test, questions


def first_answer(sent: Recorded) -> str:
    """Return what stands as answer A in what a judge was sent."""
    return str(sent.json["messages"][-1]["content"]).partition("<answer_A>\n")[2].partition("\n</answer_A>")[0]


@pytest.mark.parametrize(
    ("verdict", "counts"),
    [
        (lambda sent: "A", {"flips": 2}),
        (lambda sent: "A" if first_answer(sent) == "bright" else "B", {"tuned_wins": 2}),
        (lambda sent: "B" if first_answer(sent) == "bright" else "A", {"other_wins": 2}),
        (lambda sent: "tie", {"ties": 2}),
        (lambda sent: "A" if first_answer(sent) == "bright" else "tie", {"ties": 2}),
    ],
)
def test_a_judge_counts_where_both_orders_agree(
    workspace: Workspace,
    recorder: Recorder,
    fake_openai: FakeOpenAI,
    monkeypatch: pytest.MonkeyPatch,
    verdict: Callable[[Recorded], str],
    counts: dict[str, int],
) -> None:
    """A judge that prefers a place only flips; one that prefers a text in either order is counted for it."""
    fake_openai.respond = lambda sent: json.dumps({"reason": "because", "better": verdict(sent)})
    use_teacher(monkeypatch, fake_openai.url)
    test, questions = judged(3)
    found = judge_arms(test, questions, "base", make_context(workspace, recorder), most=10)
    named = {name: getattr(found, name) for name in ("tuned_wins", "other_wins", "ties", "flips", "unread")}
    assert named == {name: counts.get(name, 0) for name in named}
    assert (found.pairs, len(fake_openai.requests), found.judge) == (2, 4, "fake-model")
    assert recorder.plans[0].calls == 4


def test_a_judge_that_wrote_the_data_is_biased(
    workspace: Workspace, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report says so; and what cannot be read is counted."""
    fake_openai.respond = lambda sent: "I like both."
    use_teacher(monkeypatch, fake_openai.url)
    test, questions = judged(2)
    mine = [example.model_copy(update={"teacher": "fake-model"}) for example in test]
    found = judge_arms(mine, questions, "base", make_context(workspace, recorder), most=10)
    assert found.unread == 1
    assert "wrote 1 of the 1 right answers itself" in found.bias


def test_nothing_is_sent_without_agreement(
    workspace: Workspace, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge is asked only where somebody agrees, and has to be there."""
    test, questions = judged(2)
    with pytest.raises(SettingsError, match="needs a remote teacher"):
        judge_arms(test, questions, "base", make_context(workspace, recorder), most=1)
    use_teacher(monkeypatch, fake_openai.url)
    recorder.agrees = False
    with pytest.raises(ApprovalRequired):
        judge_arms(test, questions, "base", make_context(workspace, recorder), most=1)
    assert not fake_openai.requests
