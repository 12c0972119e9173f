"""Learnt prompts, served without peft: held against the models that peft itself makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from pipelines.errors import DataError, SettingsError
from pipelines.models.adapter import CONFIG_FILE, WEIGHTS_FILE, merge_adapter
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.engine import Sampling
from pipelines.models.learnt_prompt import read_prompt
from pipelines.models.local import LocalEngine, load_tokenizer, open_engine
from pipelines.models.packing import answer_losses, join_packs, pack_examples
from pipelines.models.prefix import group_by_prefix
from pipelines.models.render import render_example
from pipelines.operation import open_context
from pipelines.records import Message
from pipelines.training.exporting.compare import load_precise
from tests.tiny_model import make_tiny_model

SHOWN = "The brass bell means fire, the silver bell means lunch, the tin bell means silence. " * 3
ASKED = ("What does the brass bell mean?", "And the silver one?", "Which bell asks for silence?")
TOKENS = 5
# Kinds that training writes, and the other forms that peft gives them.
KINDS: dict[str, Callable[[], peft.PeftConfig]] = {
    "prefix": lambda: peft.PrefixTuningConfig(num_virtual_tokens=TOKENS),
    "prefix, projected": lambda: peft.PrefixTuningConfig(
        num_virtual_tokens=TOKENS, prefix_projection=True, encoder_hidden_size=16
    ),
    "prompt": lambda: peft.PromptTuningConfig(num_virtual_tokens=TOKENS),
    "p-tuning": lambda: peft.PromptEncoderConfig(num_virtual_tokens=TOKENS, encoder_hidden_size=16),
    "p-tuning, LSTM": lambda: peft.PromptEncoderConfig(
        num_virtual_tokens=TOKENS,
        encoder_hidden_size=16,
        encoder_reparameterization_type="LSTM",
        encoder_num_layers=1,
        encoder_dropout=0.0,
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model, whose layers say enough for a difference to show."""
    like = open_context(tmp_path_factory.mktemp("base")).models.base_folder(DEFAULT_BASE_MODEL)
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"), like=like)
    model = load_precise(folder)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(6)
    model.save_pretrained(folder)
    return folder


def save_prompt(folder: Path, base: Path, config: peft.PeftConfig) -> Path:
    """Save a learnt prompt of random weights for the model in `base`; return its folder."""
    torch.manual_seed(1)
    config.task_type = "CAUSAL_LM"
    model = peft.get_peft_model(load_precise(base), config)
    for parameter in model.prompt_encoder.parameters():
        parameter.data.normal_(std=0.7)
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module", params=KINDS)
def adapter(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a learnt prompt, of each kind."""
    return save_prompt(tmp_path_factory.mktemp("adapter"), base, KINDS[request.param]())


@pytest.fixture(scope="module")
def theirs(adapter: Path, base: Path) -> peft.PeftModel:
    """The student as peft makes it, with the attention of transformers."""
    model = AutoModelForCausalLM.from_pretrained(base, local_files_only=True, dtype=torch.float32)
    return peft.PeftModel.from_pretrained(model, str(adapter)).eval()


@pytest.fixture(scope="module")
def ours(adapter: Path, base: Path) -> LocalEngine:
    """The student as it is served, in float32."""
    return precise_engine(base, adapter)


def precise_engine(base: Path, adapter: Path | None = None) -> LocalEngine:
    """Open an engine as `open_engine` does, in float32 whatever is fast here."""
    model = load_precise(base)
    prompt = read_prompt(model, adapter) if adapter else None
    return LocalEngine(model, load_tokenizer(base), name="tiny", prompt=prompt)


def said(asked: str, answer: str = "It means that something burns.") -> tuple[Message, ...]:
    """A conversation about what all of them are shown."""
    return (Message(role="user", content=SHOWN + asked), Message(role="assistant", content=answer))


CONVERSATIONS = [*map(said, ASKED), (Message(role="user", content="Who?"), Message(role="assistant", content="Me."))]


@torch.no_grad()
def plain_loss(model: peft.PeftModel, engine: LocalEngine, messages: tuple[Message, ...]) -> float:
    """The loss of the answer by a forward pass of peft's, one sequence alone."""
    rendered = render_example(engine.tokenizer, messages)
    tokens = torch.tensor([rendered.prompt + rendered.answer])
    logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0, -tokens.shape[1] :]
    start = len(rendered.prompt)
    return float(torch.nn.functional.cross_entropy(logits[start - 1 : -1], tokens[0, start:], reduction="sum"))


@torch.no_grad()
def plain_answer(model: peft.PeftModel, prompt: list[int], *, count: int) -> list[int]:
    """The likeliest tokens by passes over the whole sequence, without any cache between them."""
    tokens = list(prompt)
    for _ in range(count):
        logits = model(input_ids=torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens))).logits
        tokens.append(int(logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def generated(engine: LocalEngine, prompts: list[tuple[Message, ...]], *, count: int) -> list[str]:
    """What an engine says to all prompts at once, in their order."""
    answers = dict(engine.generate(prompts, Sampling(max_tokens=count)))
    return [answers[index][0].text for index in range(len(prompts))]


def test_losses_are_those_of_peft(ours: LocalEngine, theirs: peft.PeftModel, base: Path) -> None:
    """Packed behind one prefix and behind the learnt prompt, each answer has the loss it has in peft."""
    untuned = precise_engine(base).losses(CONVERSATIONS)
    for messages, loss, before in zip(CONVERSATIONS, ours.losses(CONVERSATIONS), untuned, strict=True):
        assert loss.nats == pytest.approx(plain_loss(theirs, ours, messages), rel=1e-4)
        assert abs(loss.nats - before.nats) > 0.05


def test_a_long_sequence_is_computed_as_peft_does(ours: LocalEngine, theirs: peft.PeftModel) -> None:
    """Beyond one block of attention, alone and joined with others."""
    long = said("Why? " * 100)
    assert ours.losses([long])[0].nats == pytest.approx(plain_loss(theirs, ours, long), rel=1e-4)
    packs = pack_examples([render_example(ours.tokenizer, each) for each in CONVERSATIONS], max_tokens=512)
    assert len(packs) > 1
    with torch.inference_mode():
        joined = {index: nats for index, nats, _tokens in answer_losses(ours.model, join_packs(packs))}
    assert [joined[index] for index in range(len(CONVERSATIONS))] == pytest.approx(
        [plain_loss(theirs, ours, each) for each in CONVERSATIONS], rel=1e-4
    )


def test_a_batch_says_what_peft_says(ours: LocalEngine, theirs: peft.PeftModel, base: Path) -> None:
    """Greedy answers to prompts of different lengths, some behind one prefix, are those of single passes."""
    prompts = [messages[:1] for messages in CONVERSATIONS]
    answers = [plain_answer(theirs, ours.encode(prompt), count=10) for prompt in prompts]
    spoken = [list(itertools.takewhile(lambda token: token not in ours._end_tokens, each)) for each in answers]
    wanted = [ours.tokenizer.decode(each) for each in spoken]
    assert generated(ours, prompts, count=10) == wanted
    assert [generated(ours, [prompt], count=10)[0] for prompt in prompts] == wanted
    assert "".join(ours.stream(prompts[0], Sampling(max_tokens=10))) == wanted[0]
    assert generated(precise_engine(base), prompts, count=10) != wanted


def test_the_first_token_has_the_probabilities_of_peft(ours: LocalEngine, theirs: peft.PeftModel) -> None:
    """Positions are shifted by the virtual tokens in the prompt, and in what is decoded after it."""
    encoded = [ours.encode(messages[:1]) for messages in CONVERSATIONS]
    from_batch = decoded_logits(ours, [messages[:1] for messages in CONVERSATIONS])
    for number, tokens in enumerate(encoded):
        for step, follow in enumerate(([], [7])):
            ids = torch.tensor([tokens + follow])
            with torch.no_grad():
                wanted = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
            assert (from_batch[step][number] - wanted).abs().max() < 1e-4


@torch.inference_mode()
def decoded_logits(engine: LocalEngine, prompts: list[tuple[Message, ...]]) -> list[torch.Tensor]:
    """Logits after the prompts, and after one more token, in the order of the prompts."""
    found = []
    encoded = [engine.encode(prompt) for prompt in prompts]
    shareable = [len(tokens) - 1 for tokens in encoded]
    groups = group_by_prefix(encoded, shareable=shareable, max_members=8, max_tokens=4096)
    assert {len(group.members) for group in groups} == {1, 3}
    state = engine._start(groups, encoded, Sampling(max_tokens=4))
    order = torch.tensor([row.index for row in state.rows]).argsort()
    found.append(state.logits[order])
    engine._decoder.step(state, torch.full((len(prompts),), 7))
    found.append(state.logits[order])
    return found


# ---- what is served, and what is refused


def test_an_engine_opens_with_a_learnt_prompt(adapter: Path, base: Path) -> None:
    """As any adapter: with a name of its own, and fewer tokens left for a conversation."""
    plain, engine = open_engine(base, name="tiny"), open_engine(base, name="tiny", adapter=adapter)
    assert engine.name.startswith("tiny+")
    assert engine.context_tokens == plain.context_tokens - TOKENS
    assert engine.losses(CONVERSATIONS) != plain.losses(CONVERSATIONS)
    room = engine.context_tokens - len(engine.encode("Who?"))
    with pytest.raises(SettingsError, match="does not fit"):
        next(engine.generate(["Who?"], Sampling(max_tokens=room + 1)))


def test_a_learnt_prompt_fills_the_context_exactly(ours: LocalEngine) -> None:
    """What is said to fit fits."""
    prompt = "bell " * (ours.context_tokens - 4)
    assert len(ours.encode(prompt)) + 2 <= ours.context_tokens
    room = ours.context_tokens - len(ours.encode(prompt))
    [(_index, (completion,))] = ours.generate([prompt], Sampling(max_tokens=room))
    assert completion.tokens_in == len(ours.encode(prompt))


def test_a_learnt_prompt_of_another_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    """A model of other sizes cannot begin with it."""
    like = open_context(tmp_path).models.base_folder(DEFAULT_BASE_MODEL)
    with pytest.raises(DataError, match="another model"):
        open_engine(like, name="other", adapter=adapter)


def test_a_prefix_of_more_layers_is_refused(base: Path, tmp_path: Path) -> None:
    """Even where those that there are would fit."""
    folder = save_prompt(tmp_path, base, KINDS["prefix"]())
    model = load_precise(base)
    model.model.layers, model.config.num_hidden_layers = model.model.layers[:1], 1
    with pytest.raises(DataError, match="2 layers, not 1"):
        read_prompt(model, folder)


def test_a_file_without_a_prompt_is_refused(adapter: Path, base: Path, tmp_path: Path) -> None:
    """A configuration that promises one is not enough."""
    (tmp_path / CONFIG_FILE).write_bytes((adapter / CONFIG_FILE).read_bytes())
    save_file({"other": torch.zeros(1)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(DataError, match="no learnt prompt"):
        open_engine(base, name="tiny", adapter=tmp_path)


def test_a_learnt_prompt_is_never_merged(adapter: Path, base: Path) -> None:
    """It is no change of weights, and that is said."""
    with pytest.raises(DataError, match="changes no weights"):
        merge_adapter(load_precise(base), adapter)
