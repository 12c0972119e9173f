"""The loop on a model of one small layer: when it ends by itself, what it keeps, and how it goes on."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from pipelines.errors import TrainingError
from pipelines.models.packing import Pack, pack_examples, pack_groups
from pipelines.models.render import Rendered
from pipelines.training.catalog import MethodName
from pipelines.training.checkpoint import find_checkpoints
from pipelines.training.loop import Run
from pipelines.training.methods import open_student
from pipelines.training.objectives.objective import Losses, Objective, SupervisedObjective
from pipelines.training.objectives.preference import OddsRatioPreference
from pipelines.training.progress import Schedule, StepReport
from pipelines.training.student import Student


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of forty tokens; a loop needs no tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_examples(count: int) -> list[Rendered]:
    """Examples of two prompts, whose answers are of different lengths."""
    draw = random.Random(0)
    prompts = [tuple(draw.choices(range(2, 40), k=16)) for _ in range(2)]
    return [
        Rendered(prompt=prompts[number % 2], answer=(*draw.choices(range(2, 40), k=2 + number % 5), 1))
        for number in range(count)
    ]


def single_packs(count: int) -> list[Pack]:
    """Packs of one example each, so that each is a step."""
    return pack_examples(make_examples(count), max_tokens=64, max_members=1)


def new_run(
    base: Path,
    folder: Path,
    packs: Sequence[Pack],
    *,
    method: MethodName = "lora",
    objective: Objective | None = None,
    batch_size: int = 1,
    epochs: float = 1,
    evaluations: int = 1,
    patience: int = 99,
    seed: int = 0,
    micro_tokens: int | None = None,
) -> tuple[Run, Student]:
    """A run that validates on what it trains on."""
    schedule = Schedule(
        epochs=epochs,
        learning_rate=1e-2,
        batch_size=batch_size,
        evaluations_per_epoch=evaluations,
        patience=patience,
        seed=seed,
        micro_tokens=micro_tokens,
    )
    folder.mkdir(exist_ok=True)
    student = open_student(base, method=method, rank=2, steps=20, seed=0)
    run = Run(student, train=packs, validation=packs, schedule=schedule, folder=folder, key="k", objective=objective)
    return run, student


class Told(Objective):
    """Losses of steps and of validations as they are told, whose gradient is `slope` everywhere."""

    def __init__(
        self, steps: Sequence[float], validations: Sequence[float] = (), *, slopes: Sequence[float] = ()
    ) -> None:
        self._steps, self._validations = iter(steps), iter(validations)
        self._slopes = iter(slopes)

    def weight(self, pack: Pack) -> float:
        """Every step counts once."""
        return 1.0

    def loss(self, student: Student, pack: Pack) -> Losses:
        """Return what is next."""
        if not torch.is_grad_enabled():
            return Losses(total=torch.tensor(next(self._validations, 1.0)))
        moving = sum(((each - each.detach()).sum() for each in student.parameters()), start=torch.zeros(()))
        return Losses(total=next(self._steps) + next(self._slopes, 1.0) * moving)


def weights_of(student: Student) -> list[torch.Tensor]:
    """A copy of what is trained."""
    return [each.detach().float().clone() for each in student.parameters()]


def is_same(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    """Whether two sets of weights are equal to the last bit."""
    return all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


# ---- a run that ends by itself


def test_a_leap_of_the_loss_ends_the_run(base: Path, tmp_path: Path) -> None:
    """Three steps far above the usual end it, with a checkpoint and the way out."""
    told = Told([1.0] * 20 + [9.0] * 10)
    run, _student = new_run(base, tmp_path, single_packs(30), objective=told)
    with pytest.raises(TrainingError, match="leapt from about 1 to 9 at step 23") as caught:
        run.train(lambda step: None)
    assert "--learning-rate" in caught.value.hint
    assert find_checkpoints(tmp_path)[0].name.startswith("checkpoint-00000023-")


@pytest.mark.parametrize(
    "losses",
    [
        [1.0] * 20 + [9.0, 9.0, 1.0] * 3,  # it comes back
        [1.0] * 19 + [9.0] * 3 + [1.0] * 8,  # too early to know what is usual
        [0.1] * 20 + [0.9] * 10,  # nine times nearly nothing
        [-1.0] * 20 + [-0.1] * 10,  # a loss that may be negative
        [4.0] * 20 + [15.0] * 10,
    ],
)
def test_a_run_lives_with_what_is_no_leap(losses: list[float], base: Path, tmp_path: Path) -> None:
    """A bad batch or two, a small loss that becomes less small, and a beginning that is wild."""
    run, _student = new_run(base, tmp_path, single_packs(len(losses)), objective=Told(losses))
    assert run.train(lambda step: None).steps == len(losses)


@pytest.mark.parametrize(("loss", "slope"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, 1e30)])
def test_what_is_no_number_ends_the_run_at_once(loss: float, slope: float, base: Path, tmp_path: Path) -> None:
    """Neither weights nor the optimizer take anything from such a step."""
    told = Told([1.0, loss], slopes=[1.0, slope])
    run, student = new_run(base, tmp_path, single_packs(4), objective=told)
    after: list[list[torch.Tensor]] = []
    with pytest.raises(TrainingError, match=r"the loss became .* at step 2") as caught:
        run.train(lambda step: after.append(weights_of(student)))
    assert "--learning-rate" in caught.value.hint
    assert len(after) == 1
    assert is_same(weights_of(student), after[0])


def test_the_best_weights_are_kept(base: Path, tmp_path: Path) -> None:
    """After as many validations without a better one as patience allows it ends, and saves those of the best."""
    told = Told([1.0] * 9, [0.5, 0.4, 0.4, 0.45, 0.1])
    run, student = new_run(base, tmp_path, single_packs(1), objective=told, epochs=9, patience=2)
    after: list[list[torch.Tensor]] = []
    outcome = run.train(lambda step: after.append(weights_of(student)))
    assert (outcome.steps, outcome.best_step, outcome.best_validation_loss) == (4, 2, pytest.approx(0.4))
    assert is_same(weights_of(student), after[1])
    assert not is_same(weights_of(student), after[3])
    computed = student.parameters()[0].dtype
    run.save_adapter()
    saved = load_file(tmp_path / "adapter_model.safetensors")
    names = [name.replace(".default", "") for name, _each in student.model.named_parameters() if "lora_" in name]
    assert {each.dtype for each in saved.values()} == {torch.float32}
    assert is_same([saved[name].to(computed).float() for name in names], after[1])


# ---- a run that goes on


@pytest.mark.parametrize("method", ["lora", "dora", "adalora", "full"])
def test_a_resumed_run_is_the_same_run(method: MethodName, base: Path, tmp_path: Path) -> None:
    """To the digit: weights, moments, rates, the order of packs, and what the method remembers."""
    packs = single_packs(6)

    def train(folder: Path, losses: list[float], *, stop: int = 0) -> Student:
        run, student = new_run(base, folder, packs, method=method, batch_size=2, epochs=5, evaluations=2)

        def report(step: StepReport) -> None:
            losses.append(step.loss)
            if step.step == stop:
                raise KeyboardInterrupt

        if stop:
            with pytest.raises(KeyboardInterrupt):
                run.train(report)
        else:
            run.train(report)
        return student

    whole: list[float] = []
    parts: list[float] = []
    undisturbed = train(tmp_path / "whole", whole)
    for stop in (4, 8):
        train(tmp_path / "parts", parts, stop=stop)
    resumed = train(tmp_path / "parts", parts)
    assert len(whole) == 15
    assert parts == pytest.approx(whole, rel=1e-5)
    for one, other in zip(weights_of(undisturbed), weights_of(resumed), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_resumed_run_remembers_its_best(base: Path, tmp_path: Path) -> None:
    """And how long nothing has been better; the steps that a spike is told from begin anew."""
    values = {"epochs": 9, "patience": 3}
    first, student = new_run(base, tmp_path, single_packs(1), objective=Told([1.0] * 3, [0.4, 0.5, 0.6]), **values)
    after: list[list[torch.Tensor]] = []

    def stop(step: StepReport) -> None:
        after.append(weights_of(student))
        if step.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.train(stop)
    second, student = new_run(base, tmp_path, single_packs(1), objective=Told([1.0] * 3, [0.7, 0.1]), **values)
    outcome = second.train(lambda step: None)
    assert (outcome.steps, outcome.best_step, outcome.resumed_from_step) == (4, 1, 3)
    assert is_same(weights_of(student), after[0])


# ---- what a step is


class Seen(OddsRatioPreference):
    """Pairs of answers; remembers what was computed at once."""

    def __init__(self) -> None:
        self.parts: list[Pack] = []

    def loss(self, student: Student, pack: Pack) -> Losses:
        """Return the loss, and remember the pack."""
        self.parts.append(pack)
        return super().loss(student, pack)


def test_short_memory_changes_no_step(base: Path, tmp_path: Path) -> None:
    """In pieces of fewer tokens, pairs whole, losses and weights are those of the run that has all the memory."""
    answers = [each.answer for each in make_examples(12)]
    [prompt] = {each.prompt for each in make_examples(12)[::2]}
    pairs = [
        [Rendered(prompt=prompt, answer=better), Rendered(prompt=prompt, answer=worse)]
        for better, worse in zip(answers[0::2], answers[1::2], strict=True)
    ]
    packs = pack_groups(pairs, max_tokens=100)
    assert max(len(pack.branches) for pack in packs) > 4
    found = []
    for name, micro_tokens in (("whole", None), ("pieces", 40)):
        seen = Seen()
        run, student = new_run(
            base, tmp_path / name, packs, objective=seen, batch_size=6, epochs=3, micro_tokens=micro_tokens
        )
        losses: list[float] = []
        run.train(lambda step, losses=losses: losses.append(step.loss))
        found.append((losses, weights_of(student), seen.parts))
    (whole, weights, at_once), (pieces, others, parts) = found
    assert len(parts) > 2 * len(at_once)
    assert all(max(branch.end for branch in part.branches) <= 40 or len(part.branches) == 2 for part in parts)
    assert pieces == pytest.approx(whole, rel=1e-3)
    for one, other in zip(weights, others, strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_one_wild_gradient_weighs_no_more_than_another(base: Path, tmp_path: Path) -> None:
    """Gradients are clipped to the same norm, so a step that is much steeper goes no further; the log has the truth."""
    found = []
    for name, slope in (("usual", 1.0), ("steep", 65_536.0), ("flat", 1e-4)):
        told = Told([1.0] * 3, slopes=[1.0, slope, 1.0])
        run, student = new_run(base, tmp_path / name, single_packs(3), objective=told)
        norms: list[float] = []
        run.train(lambda step, norms=norms: norms.append(step.grad_norm))
        found.append((weights_of(student), norms))
    (usual, norms), (steep, larger), (flat, _small) = found
    assert larger[1] == pytest.approx(65_536 * norms[1], rel=0.01)
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(usual, steep, strict=True))
    assert not all(torch.allclose(one, other, atol=1e-3) for one, other in zip(usual, flat, strict=True))


def test_adalora_drops_what_matters_least(base: Path, tmp_path: Path) -> None:
    """Of three singular values a layer, as many are set to nothing as leave two on the average."""
    run, student = new_run(base, tmp_path, single_packs(5), method="adalora", epochs=3)
    left: list[float] = []

    def count(step: StepReport) -> None:
        values = [each for name, each in student.model.named_parameters() if "lora_E" in name]
        left.append(sum(int(torch.count_nonzero(each)) for each in values) / len(values))

    run.train(count)
    assert left[0] == 3
    assert left[-1] == 2


def test_the_order_is_that_of_the_seed(base: Path, tmp_path: Path) -> None:
    """Every epoch has every pack once, in an order of its own, which another seed changes."""
    packs = single_packs(8)

    def order(seed: int) -> list[int]:
        run, _student = new_run(base, tmp_path, packs, objective=Told([]), epochs=2, seed=seed)
        return [pack.branches[0].index for batch in run.all_batches() for pack in batch]

    first = order(0)
    assert sorted(first[:8]) == sorted(first[8:]) == list(range(8))
    assert first[:8] != first[8:]
    assert first == order(0) != order(1)


def test_a_validation_is_the_mean_of_all_tokens(base: Path, tmp_path: Path) -> None:
    """Long answers weigh more than short ones, however they are packed."""
    examples = make_examples(7)
    packs = pack_examples(examples, max_tokens=30)
    run, student = new_run(base, tmp_path, packs, objective=SupervisedObjective())
    nats = tokens = 0.0
    with torch.no_grad():
        for each in examples:
            logits = student.base(input_ids=torch.tensor([each.prompt + each.answer])).logits[0].float()
            ours = logits[len(each.prompt) - 1 : -1]
            nats += float(torch.nn.functional.cross_entropy(ours, torch.tensor(each.answer), reduction="sum"))
            tokens += len(each.answer)
    assert run.validation_loss() == pytest.approx(nats / tokens, rel=0.01)
