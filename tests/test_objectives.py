"""Objectives on a tiny model: what each loss is, and that each learns."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from pipelines.errors import DataError, SettingsError, TrainingError
from pipelines.models.attention import register_attention
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.local import LocalEngine, load_model, load_tokenizer, open_engine
from pipelines.models.packing import Pack, pack_groups, split_pack
from pipelines.models.render import Rendered, encode_text, end_token, render_example, render_prompt
from pipelines.operation import Context, open_context
from pipelines.records import Message
from pipelines.training.catalog import METHODS, OBJECTIVES, MethodName, ObjectiveName
from pipelines.training.methods import open_student
from pipelines.training.objectives.objective import SupervisedObjective, answer_logprobs
from pipelines.training.objectives.policy import GroupRelativePolicy
from pipelines.training.objectives.preference import (
    BETA,
    DirectPreference,
    OddsRatioPreference,
    ProspectPreference,
)
from pipelines.training.objectives.reward import RewardObjective, score_answers
from pipelines.training.objectives.rewards import reward_citation, reward_match
from pipelines.training.params import TrainParams
from pipelines.training.quantize import add_adapter
from pipelines.training.student import Student
from pipelines.training.work import run_training
from tests.tiny_model import make_tiny_model

PAIRS = [
    (f"What does the {colour} bell mean?", f"It means {good}.", f"It may well mean {bad}, I suppose.")
    for colour, good, bad in (
        ("brass", "fire", "rain"),
        ("silver", "lunch", "fog"),
        ("iron", "closing time", "a guest"),
        ("copper", "a delivery", "thunder"),
        ("tin", "silence", "a bicycle"),
        ("gold", "a birthday", "nothing"),
    )
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    like = open_context(tmp_path_factory.mktemp("base")).models.base_folder(DEFAULT_BASE_MODEL)
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), like=like)


@pytest.fixture(scope="module")
def pairs(base: Path) -> list[list[Rendered]]:
    """Pairs of a better and a worse answer as tokens."""
    tokenizer = load_tokenizer(base)
    return [
        [
            render_example(tokenizer, (Message(role="user", content=asked), Message(role="assistant", content=said)))
            for said in (good, bad)
        ]
        for asked, good, bad in PAIRS
    ]


def student_of(base: Path, method: MethodName = "lora") -> Student:
    """A fresh student."""
    return open_student(base, method=method, rank=4, steps=10, seed=0)


def lively_student(base: Path) -> Student:
    """A fresh student in float32 with larger weights: a tiny model's usual ones find all answers equally likely."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(base, initializer_range=0.3)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=register_attention())
    return Student(add_adapter(model, rank=4, seed=0))


def taught(student: Student, examples: Sequence[Rendered], *, away: bool = False) -> None:
    """Make a student find answers much likelier than before, or less likely."""
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    packs = pack_groups([[each] for each in examples], max_tokens=400)
    for _ in range(5 if away else 40):
        for pack in packs:
            loss = SupervisedObjective().loss(student, pack).total
            (-loss if away else loss).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def plain_logprobs(student: Student, example: Rendered) -> torch.Tensor:
    """The log-probability of each token of an answer alone, by transformers and nothing of ours."""
    tokens = torch.tensor([example.prompt + example.answer])
    with torch.no_grad():
        logits = student.base(input_ids=tokens).logits[0].float().log_softmax(-1)
    found: torch.Tensor = logits[len(example.prompt) - 1 : -1].gather(1, torch.tensor(example.answer)[:, None])[:, 0]
    return found


def plain_logprob(student: Student, example: Rendered) -> float:
    """The log-probability of an answer alone."""
    return float(plain_logprobs(student, example).sum())


def write_pairs(path: Path, *, worse: bool = True) -> Path:
    """Write the pairs as a file of records."""
    rows = [
        {
            "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": good}],
            **({"rejected": bad} if worse else {}),
        }
        for asked, good, bad in PAIRS * 2
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# ---- packs


def test_a_pair_is_computed_as_if_each_answer_stood_alone(base: Path, pairs: list[list[Rendered]]) -> None:
    """Neither the other answer nor the other pairs of a pack change anything."""
    student = student_of(base)
    packs = pack_groups(pairs, max_tokens=400)
    assert any(len(pack.branches) > 2 for pack in packs)
    found: dict[int, float] = {}
    with torch.no_grad():
        for pack in packs:
            logprobs, sizes = answer_logprobs(student, pack)
            found |= dict(zip((branch.index for branch in pack.branches), logprobs.tolist(), strict=True))
            assert sizes.tolist() == [len(pairs[each.index // 2][each.index % 2].answer) for each in pack.branches]
    for number, pair in enumerate(pairs):
        for place, example in enumerate(pair):
            assert found[2 * number + place] == pytest.approx(plain_logprob(student, example), rel=0.02, abs=0.3)


@given(limit=st.integers(1, 500), together=st.sampled_from([1, 2]))
def test_a_pack_in_parts_is_the_same(base: Path, pairs: list[list[Rendered]], limit: int, together: int) -> None:
    """Parts hold every branch once, in order, groups whole, with the tokens that they had."""
    for pack in pack_groups(pairs, max_tokens=400):
        parts = split_pack(pack, max_tokens=limit, together=together)
        assert [each.index for part in parts for each in part.branches] == [each.index for each in pack.branches]
        for part in parts:
            assert len(part.branches) % together == 0
            assert len(part.tokens) <= limit or len(part.branches) == together or part is pack
            for branch in part.branches:
                whole = next(each for each in pack.branches if each.index == branch.index)
                assert part.tokens[branch.start : branch.end] == pack.tokens[whole.start : whole.end]
                assert branch.answer - branch.start == whole.answer - whole.start
            assert part.tokens[: part.prefixes[0][1]] == pack.tokens[: pack.prefixes[0][1]]


def test_parts_have_the_gradient_of_the_whole(base: Path, pairs: list[list[Rendered]]) -> None:
    """Halving what is computed at once changes no step."""
    student = student_of(base)
    pack = max(pack_groups(pairs, max_tokens=400), key=lambda each: len(each.branches))
    objective = SupervisedObjective()

    def gradient(packs: list[Pack]) -> torch.Tensor:
        student.model.zero_grad()
        for part in packs:
            objective.loss(student, part).total.backward()  # type: ignore[no-untyped-call]
        return torch.cat([each.grad.float().flatten() for each in student.parameters() if each.grad is not None])

    whole, halves = gradient([pack]), gradient(split_pack(pack, max_tokens=60, together=1))
    assert torch.nn.functional.cosine_similarity(whole, halves, dim=0) > 0.999
    assert float(halves.norm() / whole.norm()) == pytest.approx(1, rel=0.02)


# ---- losses


def test_before_training_nothing_is_preferred(base: Path, pairs: list[list[Rendered]], tmp_path: Path) -> None:
    """DPO starts at log 2 and KTO at a half: the student is the reference still."""
    student = student_of(base)
    packs = pack_groups(pairs, max_tokens=400)
    for objective, start in (
        (DirectPreference(), math.log(2)),
        (ProspectPreference([each for pair in pairs for each in pair]), 0.5),
    ):
        objective.prepare(student, packs, folder=tmp_path, key=type(objective).__name__)
        objective.begin_step(student, packs, step=0)
        with torch.no_grad():
            total = sum(objective.loss(student, pack).total.item() for pack in packs)
        assert total / sum(objective.weight(pack) for pack in packs) == pytest.approx(start, abs=0.02)


def test_losses_are_those_of_the_papers(base: Path, pairs: list[list[Rendered]], tmp_path: Path) -> None:
    """Computed from log-probabilities of single answers, by the papers' equations; some worse answers are likelier."""
    student = lively_student(base)
    packs = pack_groups(pairs, max_tokens=400, max_members=1)
    direct, odds = DirectPreference(), OddsRatioPreference()
    direct.prepare(student, packs, folder=tmp_path, key="k")
    before = [[plain_logprob(student, each) for each in pair] for pair in pairs]
    taught(student, [pair[number == 1] for number, pair in enumerate(pairs)])
    after = [[plain_logprob(student, each) for each in pair] for pair in pairs]
    gained = torch.tensor(after) - torch.tensor(before)
    margins = (BETA * (gained[:, 0] - gained[:, 1])).tolist()
    assert min(margins) < -0.3 < 0.3 < max(margins)
    assert after[1][1] > -2 * len(pairs[1][1].answer)  # so likely that its odds are more than its probability
    for pack in packs:
        number = pack.branches[0].index // 2
        margin = margins[number]
        found = direct.loss(student, pack)
        assert found.total.item() == pytest.approx(math.log(1 + math.exp(-margin)), abs=1e-3)
        assert found.measures == pytest.approx({"accuracy": float(margin > 0), "margin": margin}, abs=1e-3)
        means = [logprob / len(each.answer) for logprob, each in zip(after[number], pairs[number], strict=True)]
        better, worse = (math.log(math.exp(mean) / (1 - math.exp(mean))) for mean in means)
        expected = -means[0] + 0.1 * math.log(1 + math.exp(worse - better))
        assert odds.loss(student, pack).total.item() == pytest.approx(expected, abs=1e-3)


def test_a_reference_outlives_a_restart(base: Path, pairs: list[list[Rendered]], tmp_path: Path) -> None:
    """A resumed run compares with the model before training, not with what it has become."""
    student = student_of(base)
    packs = pack_groups(pairs, max_tokens=400)
    first, second, other = DirectPreference(), DirectPreference(), DirectPreference()
    first.prepare(student, packs, folder=tmp_path, key="k")
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    second.prepare(student, packs, folder=tmp_path, key="k")
    other.prepare(student, packs, folder=tmp_path, key="another run")
    with torch.no_grad():
        losses = [each.loss(student, packs[0]).total.item() for each in (first, second, other)]
    assert losses[0] == losses[1]
    assert losses[2] == pytest.approx(math.log(2) * first.weight(packs[0]), abs=0.05)
    assert losses[0] != pytest.approx(losses[2], abs=0.05)


def test_full_fine_tuning_has_no_live_reference(base: Path) -> None:
    """An objective that needs the old model beside the new one says so."""
    with pytest.raises(TrainingError, match="full fine-tuning"), student_of(base, "full").as_reference():
        pass


def plain_hidden(student: Student, example: Rendered) -> torch.Tensor:
    """The last hidden state of one answer alone, by transformers and nothing of ours."""
    with torch.no_grad():
        found = student.base(input_ids=torch.tensor([example.prompt + example.answer]), output_hidden_states=True)
    hidden: torch.Tensor = found.hidden_states[-1][0, -1].float()
    return hidden


def moved(student: Student, *, seed: int) -> None:
    """Take a student away from where it began."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize(("shown", "away"), [([0, 1, 2], False), ([0, 1, 2], True), ([1], False), ([5], False)])
def test_prospects_are_seen_from_where_the_student_stands(
    shown: list[int], away: bool, base: Path, pairs: list[list[Rendered]], tmp_path: Path
) -> None:
    """KTO by its equation 8: answers to other prompts say where the student stands, never below the reference."""
    student = lively_student(base)
    packs = pack_groups(pairs, max_tokens=1000, max_members=1)
    objective = ProspectPreference([each for pair in pairs for each in pair])
    objective.prepare(student, packs, folder=tmp_path, key="k")
    packs = [pack for pack in packs if pack.branches[0].index // 2 in shown]
    order = [pack.branches[0].index // 2 for pack in packs]
    others = order[1:] + order[:1] if len(order) > 1 else [(order[0] + 1) % len(pairs)]
    strangers = [
        Rendered(prompt=pairs[one][0].prompt, answer=pairs[other][0].answer)
        for one, other in zip(order, others, strict=True)
    ]
    asked = [*strangers, *(each for one in order for each in pairs[one])]
    before = [plain_logprob(student, each) for each in asked]
    taught(student, [*strangers[:1], *pairs[order[0]]], away=away)
    gained = [plain_logprob(student, each) - old for each, old in zip(asked, before, strict=True)]
    standing = sum(gained[: len(order)]) / len(order)
    assert standing < -1 if away else standing > 1
    objective.begin_step(student, packs, step=3)
    for place, pack in enumerate(packs):
        better, worse = (each - max(0.0, standing) for each in gained[len(order) + 2 * place :][:2])
        wanted = 2 - 1 / (1 + math.exp(-BETA * better)) - 1 / (1 + math.exp(BETA * worse))
        with torch.no_grad():
            found = objective.loss(student, pack)
        assert found.total.item() == pytest.approx(wanted, abs=1e-3)
        assert found.measures["accuracy"] == 2 * (better > worse)
        assert objective.weight(pack) == 2


def test_a_reward_is_read_at_the_end_of_an_answer(base: Path, pairs: list[list[Rendered]], tmp_path: Path) -> None:
    """The loss is that of the paper; and what is scored later is what was trained, in the order of the asking."""
    student = student_of(base)
    objective = RewardObjective(64, seed=0)
    assert float(objective.head.detach().norm()) == pytest.approx(1, rel=0.3)
    worth = [[float(plain_hidden(student, each) @ objective.head.detach()) for each in pair] for pair in pairs]
    packs = pack_groups(pairs, max_tokens=1000)
    with torch.no_grad():
        found = [objective.loss(student, pack) for pack in packs]
    wanted = sum(math.log(1 + math.exp(worse - better)) for better, worse in worth)
    assert sum(each.total.item() for each in found) == pytest.approx(wanted, abs=0.1)
    assert sum(objective.weight(pack) for pack in packs) == len(pairs)
    assert [id(each) for each in objective.parameters()] == [id(objective.head)]
    objective.save(tmp_path)
    turns = [
        (Message(role="user", content=asked), Message(role="assistant", content=said))
        for asked, *answers in PAIRS
        for said in answers
    ]
    scores = score_answers(load_model(base), load_tokenizer(base), turns, folder=tmp_path)
    assert scores == pytest.approx([each for pair in worth for each in pair], abs=0.05)


def test_answers_are_sampled_rewarded_and_compared(base: Path, pairs: list[list[Rendered]]) -> None:
    """Several to a prompt, others at the next step; where all are worth the same there is nothing to learn."""
    student = student_of(base)
    tokenizer = load_tokenizer(base)
    heard: list[tuple[str, str]] = []

    def reward(prompt: Sequence[Message], answer: str, wanted: str) -> float:
        heard.append((answer, wanted))
        return 1.0

    turns = [(Message(role="user", content=asked), Message(role="assistant", content=said)) for asked, said, _ in PAIRS]
    objective = GroupRelativePolicy(
        LocalEngine(student.base, tokenizer, name="tiny"), turns, reward=reward, samples=3, max_tokens=8, seed=0
    )
    packs = pack_groups([pair[:1] for pair in pairs[:2]], max_tokens=400)
    sampled = objective.begin_step(student, packs, step=0)
    assert sum(objective.weight(pack) for pack in sampled) == 6
    assert {wanted for _answer, wanted in heard} == {turns[0][1].content, turns[1][1].content}
    assert len({answer for answer, _wanted in heard}) == 6
    assert all(abs(objective.loss(student, pack).total.item()) < 1e-3 for pack in sampled)
    moved(student, seed=0)  # from here on it costs something to be elsewhere than before
    assert all(objective.loss(student, pack).total.item() > 0 for pack in sampled)
    objective.begin_step(student, packs, step=1)
    assert len({answer for answer, _wanted in heard}) == 12
    heard.clear()
    objective.begin_validation(student, packs)
    objective.begin_validation(student, packs)
    assert heard[:2] == heard[2:]


def test_rewarded_answers_become_likelier(base: Path, pairs: list[list[Rendered]]) -> None:
    """The loss is that of the paper: what an answer is better than its group, and the way from the reference."""
    student = lively_student(base)
    tokenizer = load_tokenizer(base)
    heard: list[tuple[str, str]] = []

    def reward(prompt: Sequence[Message], answer: str, wanted: str) -> float:
        heard.append((prompt[-1].content, answer))
        return len(answer) % 7 / 6

    turns = [(Message(role="user", content=asked), Message(role="assistant", content=said)) for asked, said, _ in PAIRS]
    engine = LocalEngine(student.base, tokenizer, name="tiny")
    objective = GroupRelativePolicy(engine, turns, reward=reward, samples=4, max_tokens=6, seed=0)
    packs = objective.begin_step(student, pack_groups([pair[:1] for pair in pairs[:2]], max_tokens=400), step=0)
    answers = [
        Rendered(
            prompt=tuple(render_prompt(tokenizer, (Message(role="user", content=asked),))),
            answer=tuple(encode_text(tokenizer, answer)),
        )
        for asked, answer in heard
    ]
    rewards = torch.tensor([len(answer) % 7 / 6 for _asked, answer in heard]).view(2, 4)
    advantages = (rewards - rewards.mean(1, keepdim=True)).flatten().tolist()
    assert max(advantages) > 0.2
    before = [plain_logprobs(student, each) for each in answers]
    moved(student, seed=0)
    wanted = 0.0
    for each, old, advantage in zip(answers, before, advantages, strict=True):
        now = plain_logprobs(student, each)
        divergence = torch.exp(old - now) - (old - now) - 1
        wanted += float((0.02 * divergence - advantage * now).sum()) / 6
    found = [objective.loss(student, pack) for pack in packs]
    assert sum(each.total.item() for each in found) == pytest.approx(wanted, rel=1e-3)
    assert sum(each.measures["reward"] for each in found) == pytest.approx(float(rewards.sum()))


def test_an_answer_that_was_cut_is_not_taught_to_end(base: Path, pairs: list[list[Rendered]]) -> None:
    """The token that ends an answer is learnt only where it was said."""
    student = Student(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    tokenizer = load_tokenizer(base)
    end = end_token(tokenizer)
    asked = [pair[0] for pair in pairs[:2]]
    taught(student, [Rendered(prompt=each.prompt, answer=(each.answer[0], end)) for each in asked])
    turns = [(Message(role="user", content=asked), Message(role="assistant", content=said)) for asked, said, _ in PAIRS]
    engine = LocalEngine(student.base, tokenizer, name="tiny")
    for max_tokens, ends in ((1, False), (8, True)):
        objective = GroupRelativePolicy(engine, turns, reward=reward_match, samples=2, max_tokens=max_tokens, seed=0)
        packs = objective.begin_step(student, pack_groups([[each] for each in asked], max_tokens=400), step=0)
        last = [pack.tokens[branch.end - 1] for pack in packs for branch in pack.branches]
        assert len(last) == 4
        assert (end in last) is ends


# ---- runs


@pytest.mark.parametrize("objective", [name for name, kind in OBJECTIVES.items() if kind.needs_pairs])
def test_pairs_are_learnt(objective: ObjectiveName, base: Path, context: Context, tmp_path: Path) -> None:
    """After a short run the better answer is preferred, on the validation split as well."""
    file = write_pairs(tmp_path / "pairs.jsonl")
    params = TrainParams(
        dataset=str(file), base=str(base), objective=objective, method="lora", epochs=16, learning_rate=5e-3, rank=4
    )
    context.workspace.adapter("pairs").mkdir(parents=True)
    report = run_training(params, context)
    assert report.objective == objective
    assert report.examples == 11
    assert report.validation["accuracy"] == 1
    assert (Path(report.path) / "adapter_model.safetensors").is_file()
    if objective == "reward":
        folder = Path(report.path)
        student = load_model(base)
        scores = score_answers(student, load_tokenizer(base), [_turns(PAIRS[0][1]), _turns(PAIRS[0][2])], folder=folder)
        assert len(scores) == 2
        with pytest.raises(DataError, match="no reward model"):
            score_answers(student, load_tokenizer(base), [], folder=tmp_path)


def test_a_rule_rewards_what_is_sampled(base: Path, context: Context, tmp_path: Path) -> None:
    """GRPO samples, rewards and steps; its report counts rewards of greedy answers."""
    file = write_pairs(tmp_path / "asked.jsonl", worse=False)
    params = TrainParams(dataset=str(file), base=str(base), objective="grpo", method="lora", epochs=1, rank=4)
    context.workspace.adapter("asked").mkdir(parents=True)
    report = run_training(params, context)
    assert 0 <= report.validation["reward"] <= 1
    assert report.best_validation_loss == pytest.approx(1 - report.validation["reward"], abs=1e-3)


def test_pairs_are_needed_for_preferences(base: Path, context: Context, tmp_path: Path) -> None:
    """A dataset of answers alone is refused before any time is spent."""
    file = write_pairs(tmp_path / "answers.jsonl", worse=False)
    params = TrainParams(dataset=str(file), base=str(base), objective="dpo", method="lora")
    with pytest.raises(DataError, match="no worse answer"):
        run_training(params, context)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(method: MethodName, base: Path, context: Context, tmp_path: Path) -> None:
    """The loss on what was trained falls, and what was learnt is on the disk."""
    file = write_pairs(tmp_path / "method.jsonl", worse=False)
    losses: list[float] = []
    rate = 5e-2 if method == "adalora" else 1e-2  # at first only its few singular values move
    params = TrainParams(
        dataset=str(file), base=str(base), method=method, epochs=8, rank=4, learning_rate=rate, patience=99
    )
    context.workspace.adapter("method").mkdir(parents=True)
    report = run_training(params, context, after_step=lambda step: losses.append(step.loss))
    assert sum(losses[-3:]) < sum(losses[:3])
    assert report.method == method
    assert (Path(report.path) / "adapter_config.json").is_file()
    student = open_engine(base, name="tiny", adapter=Path(report.path))
    [one, *_rest] = student.losses([_turns("It means fire.")])
    [before] = open_engine(base, name="tiny").losses([_turns("It means fire.")])
    assert one.nats < before.nats


@pytest.mark.parametrize("kind", ["qwen2", "gpt_neox"])
def test_other_names_for_layers(kind: str, base: Path, context: Context, tmp_path: Path) -> None:
    """A base whose layers have other names and biases is trained as any other, or refused before time is spent."""
    config = AutoConfig.for_model(
        kind,
        vocab_size=49_152,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    folder = tmp_path / kind
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    load_tokenizer(base).save_pretrained(folder)
    params = TrainParams(
        dataset=str(write_pairs(tmp_path / "other.jsonl", worse=False)), base=str(folder), method="lora", epochs=2
    )
    context.workspace.adapter("other").mkdir(parents=True)
    losses: list[float] = []
    try:
        run_training(params, context, after_step=lambda step: losses.append(step.loss))
    except SettingsError as error:
        assert kind in str(error)
        assert kind != "qwen2"
    else:
        assert losses[-1] < losses[0]


# ---- rewards


@pytest.mark.parametrize(
    ("answer", "reward"), [("fire in the hall", 1.0), ("FIRE in the hall!", 1.0), ("", 0.0), ("rain", 0.0)]
)
def test_a_match_is_rewarded(answer: str, reward: float) -> None:
    """Words count, not their case or punctuation."""
    assert reward_match((), answer, "fire in the hall") == reward


@pytest.mark.parametrize(
    ("answer", "reward"), [("fire fire", 2 / 6), ("fire", 2 / 5), ("fire in the hall of rain", 0.8)]
)
def test_a_partial_match_is_rewarded_in_part(answer: str, reward: float) -> None:
    """F1 of the words: to say one twice or to add others costs, as leaving out does."""
    assert reward_match((), answer, "fire in the hall") == pytest.approx(reward)


def test_half_the_quotes_are_half_a_proof() -> None:
    """And an answer without any quote proves nothing, however well it matches."""
    prompt = (Message(role="user", content="[1] The bell means fire in the hall."),)
    true, false = '"the bell means fire" [1]', '"the bell means snow" [1]'
    mixed = f"{true} {false}"
    assert reward_citation(prompt, mixed, mixed) == pytest.approx(0.75)
    assert reward_citation(prompt, "fire", "fire") == 0.5


def test_an_invented_quote_is_not_rewarded() -> None:
    """A quote has to stand in what was shown."""
    prompt = (Message(role="user", content="[1] The bell means fire in the hall."),)
    true, false = '"The bell means fire in the hall." [1]', '"The bell means snow on the roof." [1]'
    assert reward_citation(prompt, true, true) == 1
    assert reward_citation(prompt, false, true) < 0.5


def _turns(answer: str) -> tuple[Message, ...]:
    return (Message(role="user", content=PAIRS[0][0]), Message(role="assistant", content=answer))
