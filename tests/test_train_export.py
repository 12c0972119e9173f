"""A trained adapter for other programs: merged, GGUF, Ollama; each loaded again and compared."""

from __future__ import annotations

import ast
import json
import re
import resource
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import peft
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Whitespace
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from pipelines.errors import AssistantError, DataError, SettingsError, TrainingError
from pipelines.models.adapter import LayerChange, merge_adapter, read_changes
from pipelines.models.catalog import CATALOG, DEFAULT_BASE_MODEL, packaged_files
from pipelines.models.engine import Sampling
from pipelines.models.local import load_tokenizer, open_engine
from pipelines.models.render import render_prompt
from pipelines.operation import Context, Event, Notice, Progress, open_context
from pipelines.records import Message
from pipelines.training.exporting import gguf_file
from pipelines.training.exporting.compare import load_precise, mean_loss
from pipelines.training.exporting.export import ExportParams, ExportReport, export_adapter
from pipelines.training.exporting.formats import ExportFormat, read_formats
from pipelines.training.exporting.gguf_tokenizer import check_tokenizer
from pipelines.training.exporting.modelfile import go_template, write_modelfile
from pipelines.training.exporting.place import CARD, ExportedFormat
from pipelines.training.exporting.turns import read_turns, render_text
from pipelines.training.train import TrainParams, train_adapter
from tests.test_training import ANSWERS, write_splits

QUESTION = next(iter(ANSWERS))
TINY: dict[str, Any] = {
    "vocab_size": 500,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
LIMITS_PERCENT = {"gguf-q4_0": 10.0, "gguf-q8_0": 1.5, "ollama": 1.5}
IDS = torch.arange(5, 45).reshape(2, 20) * 7


def say(*texts: str, system: str | None = None) -> tuple[Message, ...]:
    """Return a conversation of user and assistant in turns."""
    first = () if system is None else (Message(role="system", content=system),)
    turns = tuple(Message(role=("user", "assistant")[n % 2], content=text) for n, text in enumerate(texts))  # type: ignore[arg-type]
    return (*first, *turns)


CONVERSATIONS = [
    say("How many legs?"),
    say("How many legs?", "Seven.", "And of glass?"),
    say("铜灯在哪里？", "在地下室：“三楼”。", "谁拿着它？", system="只用这些段落回答。"),
    say('He said "no", didn\'t he?\n\n\tAnd {{ .Role }} or {{ end }} or {% if %}?', system='Quote with """ only.'),
    say("12 and   345  6", "{{ `x` }}", 'back\\slash "'),
    say("?", system=""),
]


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the embedded chat model."""
    return open_context(tmp_path_factory.mktemp("base")).models.base_folder(DEFAULT_BASE_MODEL)


@pytest.fixture(scope="module")
def tokenizer(base_folder: Path) -> PreTrainedTokenizerFast:
    """A small tokenizer with the control tokens and the template of the embedded chat model."""
    like = load_tokenizer(base_folder)
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = BpeTrainer(
        vocab_size=480, special_tokens=control, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    small = Tokenizer(BPE())
    small.pre_tokenizer, small.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    small.train_from_iterator([*ANSWERS, *ANSWERS.values(), str(like.chat_template)], trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=small, unk_token=control[0], bos_token=control[1], eos_token=control[2], pad_token=control[2]
    )
    wrapped.chat_template = like.chat_template
    return wrapped


def save_tiny(folder: Path, tokenizer: PreTrainedTokenizerFast, config: Any) -> Path:
    """Save a model of random weights; return its folder."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name:  # what starts as ones or zeros would hide mistakes
            parameter.data.add_(torch.rand_like(parameter))
        elif parameter.ndim == 2:
            parameter.data.normal_(std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A tiny Llama with tied embeddings, as a Hugging Face folder."""
    return save_tiny(tmp_path_factory.mktemp("tiny"), tokenizer, LlamaConfig(**TINY, tie_word_embeddings=True))


KINDS: dict[str, peft.PeftConfig] = {
    "lora": peft.LoraConfig(r=4, lora_alpha=10),
    "rslora": peft.LoraConfig(r=4, lora_alpha=3, use_rslora=True),
    "dora": peft.LoraConfig(r=4, lora_alpha=8, use_dora=True),
    "patterns": peft.LoraConfig(r=4, rank_pattern={"q_proj": 2}, alpha_pattern={"layers.1.self_attn.v_proj": 21}),
    "adalora": peft.AdaLoraConfig(init_r=6, target_r=3, lora_alpha=5, total_step=10),
}


def save_adapter(folder: Path, base: Path, config: peft.PeftConfig) -> Path:
    """Save an adapter of random weights for the model in `base`; return its folder."""
    torch.manual_seed(1)
    config.task_type = "CAUSAL_LM"
    if hasattr(config, "target_modules"):
        config.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "down_proj"}
    model = peft.get_peft_model(load_precise(base), config)
    for name, parameter in model.named_parameters():
        if "lora_magnitude" in name:
            parameter.data.mul_(1 + torch.rand_like(parameter))
        elif "lora_" in name:
            parameter.data.normal_(std=0.3)
    model.save_pretrained(str(folder))
    return folder


def logits(model: PreTrainedModel) -> torch.Tensor:
    """Return what a model predicts on a few tokens."""
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=None).logits.float()


# ---- adapters of every kind, merged


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_merges_as_peft_merges_it(kind: str, tiny_base: Path, tmp_path: Path) -> None:
    """LoRA, rsLoRA, DoRA, AdaLoRA, and ranks that differ by layer: ours and peft's are one model."""
    folder = save_adapter(tmp_path, tiny_base, KINDS[kind])
    ours, base = load_precise(tiny_base), logits(load_precise(tiny_base))
    merge_adapter(ours, folder)
    theirs = peft.PeftModel.from_pretrained(load_precise(tiny_base), str(folder)).merge_and_unload()
    assert (logits(ours) - logits(theirs)).abs().max() < 1e-3
    assert (logits(theirs) - base).abs().max() > 1.0


# peft 0.21 takes AdaLoRA's pattern for one of LoRA's, and warns; it heeds it all the same.
@pytest.mark.filterwarnings("ignore:The following rank_pattern keys:RuntimeWarning")
def test_a_pruned_adalora_keeps_its_scale(tiny_base: Path, tmp_path: Path) -> None:
    """Ranks that AdaLoRA has dropped do not change the scale of those that it kept."""
    config = peft.AdaLoraConfig(init_r=6, target_r=3, total_step=10, target_modules=["v_proj"], task_type="CAUSAL_LM")
    torch.manual_seed(1)
    model = peft.get_peft_model(load_precise(tiny_base), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.3)
    layers = [name for name, module in model.named_modules() if name.endswith("v_proj")]
    kept = [True, False, True, True, False, False]
    model.peft_config["default"].rank_pattern = {
        f"{name.removeprefix('base_model.model.')}.lora_E.default": kept for name in layers
    }
    model.save_pretrained(str(tmp_path))
    ours = load_precise(tiny_base)
    merge_adapter(ours, tmp_path)
    assert {change.down.shape[0] for change in read_changes(tmp_path)} == {3}
    theirs = peft.PeftModel.from_pretrained(load_precise(tiny_base), str(tmp_path)).merge_and_unload()
    assert (logits(ours) - logits(theirs)).abs().max() < 1e-3


PROMPT_LEARNING = {
    "PREFIX_TUNING": peft.PrefixTuningConfig(num_virtual_tokens=4),
    "PROMPT_TUNING": peft.PromptTuningConfig(num_virtual_tokens=4),
    "P_TUNING": peft.PromptEncoderConfig(num_virtual_tokens=4),
}


@pytest.mark.parametrize("kind", PROMPT_LEARNING)
def test_prompt_learning_is_refused_by_its_name(kind: str, tiny_base: Path, tmp_path: Path) -> None:
    """What changes no weights cannot be merged, and that is said."""
    folder = save_adapter(tmp_path, tiny_base, PROMPT_LEARNING[kind])
    with pytest.raises(DataError, match=kind) as caught:
        merge_adapter(load_precise(tiny_base), folder)
    assert "nothing to merge" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("formats", ["merged", "gguf-q8_0", "gguf-adapter", "ollama"])
def test_a_learnt_prompt_is_not_exported(formats: str, tiny_base: Path, tmp_path: Path) -> None:
    """It is no change of weights: that is said before any work, and nothing is written."""
    context = open_context(tmp_path)
    context.workspace.make()
    save_adapter(context.workspace.adapter("learnt"), tiny_base, PROMPT_LEARNING["PREFIX_TUNING"])
    with pytest.raises(DataError, match="changes no weights") as caught:
        export_adapter(ExportParams(adapter="learnt", formats=formats, base=str(tiny_base)), context)
    assert "LoRA" in str(caught.value.hint)
    assert not (context.workspace.root / "exports").exists()


def test_an_adapter_that_moved_weights_of_its_base_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    """PiSSA takes a part out of the base; added to a fresh base it would count twice."""
    save_adapter(tmp_path, tiny_base, peft.LoraConfig(r=4, init_lora_weights="pissa"))
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "init_lora_weights": "pissa"}), encoding="utf-8")
    with pytest.raises(DataError, match="unchanged base"):
        read_changes(tmp_path)


def test_weights_that_merging_would_lose_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    """An adapter that also holds a trained norm is not half merged."""
    save_adapter(tmp_path, tiny_base, peft.LoraConfig(r=4, modules_to_save=["norm"]))
    with pytest.raises(DataError, match="more than LoRA"):
        read_changes(tmp_path)


# ---- GGUF


ARCHITECTURES = {
    "llama": LlamaConfig(**TINY, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 5e4}),
    "untied": LlamaConfig(**TINY, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**TINY, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**TINY, tie_word_embeddings=False, head_dim=128),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_gguf_file_is_the_same_model(name: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """Names, row orders, head counts and constants: read back, the predictions are the same."""
    model = load_precise(save_tiny(tmp_path / "base", tokenizer, ARCHITECTURES[name]))
    gguf_file.write_model(tmp_path / "m.gguf", model, tokenizer, precision="f16", name=name)
    back = load_precise(tmp_path, gguf_file="m.gguf")
    assert (logits(model) - logits(back)).abs().max() < 0.05 * logits(model).std()


def test_a_gguf_file_says_what_llama_cpp_needs(
    tiny_base: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Shape, tokenizer and template are in the file; norms stay in float32, the embedding at 8 bits."""
    path = tmp_path / "m.gguf"
    gguf_file.write_model(path, load_precise(tiny_base), tokenizer, precision="q4_0", name="tiny")
    reader = gguf.GGUFReader(path)
    said = {key: field.contents() for key, field in reader.fields.items()}
    assert said["general.architecture"] == "llama"
    assert (said["llama.attention.head_count"], said["llama.attention.head_count_kv"]) == (4, 2)
    assert (said["llama.context_length"], said["llama.rope.dimension_count"]) == (512, 16)
    assert (said["tokenizer.ggml.bos_token_id"], said["tokenizer.ggml.eos_token_id"]) == (1, 2)
    assert said["tokenizer.ggml.add_bos_token"] is False
    assert said["tokenizer.chat_template"] == tokenizer.chat_template
    assert said["tokenizer.ggml.tokens"][1] == "<|im_start|>"
    assert set(said["tokenizer.ggml.token_type"][:3]) == {gguf.TokenType.CONTROL}
    assert said["tokenizer.ggml.token_type"][-1] == gguf.TokenType.UNUSED
    assert len(said["tokenizer.ggml.tokens"]) == 500
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.0.attn_q.weight"] == "Q4_0"
    assert kinds["output_norm.weight"] == "F32"
    assert "output.weight" not in kinds


def test_how_a_tokenizer_splits_decides_its_name(tiny_base: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Digits one by one are llama.cpp's smollm, without that gpt-2; anything unknown is refused."""

    def name_of(splitter: object) -> str:
        other = load_tokenizer(tiny_base)
        other.backend_tokenizer.pre_tokenizer = splitter
        writer = gguf.GGUFWriter(None, "llama")
        gguf_file.add_tokenizer(writer, other, LlamaConfig(**TINY))
        return str(writer.kv_data[0]["tokenizer.ggml.pre"].value)

    assert name_of(ByteLevel(add_prefix_space=False)) == "gpt-2"
    assert name_of(Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])) == "smollm"
    with pytest.raises(SettingsError, match="tokenizer cannot be written"):
        name_of(Whitespace())
    check_tokenizer(tokenizer)


def test_an_adapter_in_gguf_is_the_same_change(tiny_base: Path, tmp_path: Path) -> None:
    """Scale and row order survive, for rsLoRA and for ranks that differ by layer too."""
    for kind in ("lora", "rslora", "patterns", "adalora"):
        folder = save_adapter(tmp_path / kind, tiny_base, KINDS[kind])
        changes = read_changes(folder)
        path, config = tmp_path / f"{kind}.gguf", load_precise(tiny_base).config
        gguf_file.write_adapter(path, changes, config, alpha=7.0, name=kind)
        back = gguf_file.read_adapter(path, config, [change.layer for change in changes])
        assert [change.layer for change in back] == [change.layer for change in changes]
        for one, other in zip(changes, back, strict=True):
            zero = torch.zeros(one.up.shape[0], one.down.shape[1])
            assert torch.allclose(one.apply(zero), other.apply(zero), atol=1e-4)
        stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
        query = next(change for change in changes if change.layer.endswith("0.self_attn.q_proj"))
        assert stored["blk.0.attn_q.weight.lora_a"].shape == tuple(query.down.shape)
        # Row 1 of a head of 16 is the first of its second half, where llama.cpp wants it.
        ratio = stored["blk.0.attn_q.weight.lora_b"][1] / query.up[8].numpy()
        assert ratio == pytest.approx([ratio[0]] * len(ratio), rel=1e-4)


def test_dora_has_no_adapter_in_gguf() -> None:
    """Magnitudes cannot be written as low-rank matrices, and that is said."""
    change = LayerChange(layer="x", down=torch.ones(1, 2), up=torch.ones(2, 1), scale=1.0, magnitude=torch.ones(2))
    with pytest.raises(DataError, match="DoRA"):
        gguf_file.check_plain([change])


# ---- the Modelfile


class GoTemplate:
    """Go's text/template, as far as our Modelfiles go: if, else if, range, fields and strings."""

    _ACTION = re.compile(r'\{\{ (`[^`]*`|"(?:\\.|[^"\\])*"|[^`"]*?(?:"[a-z]+" )?)\s*\}\}')

    def __init__(self, text: str) -> None:
        self._parts = self._ACTION.split(text)  # text and action in turns
        assert "{{" not in "".join(self._parts[::2])

    def render(self, messages: tuple[Message, ...]) -> str:
        """Render as Ollama does, with every message at hand."""
        text, end = self._block(0, {"messages": messages, "message": None}, is_shown=True)
        assert end == len(self._parts)
        return text

    def _block(self, place: int, scope: dict[str, Any], *, is_shown: bool) -> tuple[str, int]:
        """Render from a part of text to the action that ends its block; return that action's place."""
        text = ""
        while True:
            text += self._parts[place] if is_shown else ""
            place += 1
            if place >= len(self._parts):
                return text, place
            action = self._parts[place].strip()
            if action == "end" or action.startswith("else"):
                return text, place
            piece, place = self._act(action, place, scope, is_shown=is_shown)
            text += piece

    def _act(self, action: str, place: int, scope: dict[str, Any], *, is_shown: bool) -> tuple[str, int]:
        if action.startswith("if "):
            return self._branches(action.removeprefix("if "), place, scope, is_shown=is_shown)
        if action == "range .Messages":
            pieces, end = [], 0
            for message in scope["messages"]:
                piece, end = self._block(place + 1, {**scope, "message": message}, is_shown=is_shown)
                pieces.append(piece)
            return "".join(pieces), end + 1
        value = scope["message"].content if action == ".Content" and scope["message"] else self._string(action)
        return (value if is_shown else ""), place + 1

    def _branches(self, test: str, place: int, scope: dict[str, Any], *, is_shown: bool) -> tuple[str, int]:
        text, is_taken = "", False
        while True:
            is_true = is_shown and not is_taken and self._holds(test, scope)
            piece, place = self._block(place + 1, scope, is_shown=is_true)
            text, is_taken = text + piece, is_taken or is_true
            action = self._parts[place].strip()
            if action == "end":
                return text, place + 1
            test = action.removeprefix("else if ")

    def _holds(self, test: str, scope: dict[str, Any]) -> bool:
        match = re.fullmatch(r'(eq|ne) (\.Role|\(index \.Messages 0\)\.Role) "(\w+)"', test)
        assert match, test
        message = scope["message"] if match[2] == ".Role" else scope["messages"][0]
        return (message.role == match[3]) == (match[1] == "eq")

    def _string(self, action: str) -> str:
        return action[1:-1] if action.startswith("`") else str(ast.literal_eval(action))


def read_modelfile(text: str) -> dict[str, list[str]]:
    """Return the commands of a Modelfile: a value in one or three quotes, or up to the line's end."""
    found: dict[str, list[str]] = {}
    pattern = re.compile(
        r'^(FROM|TEMPLATE|PARAMETER \w+|SYSTEM) (?:"""(.*?)"""|"(.*?)"|(.*?))$', re.DOTALL | re.MULTILINE
    )
    for match in pattern.finditer(text):
        found.setdefault(match[1], []).append(next(group for group in match.groups()[1:] if group is not None))
    return found


MISTRAL_LIKE = (
    "{% for m in messages %}{% if m.role == 'user' %}[Q {{ '{{' }}x{{ '}}' }}]{{ m.content }}[/Q]\n"
    '{% elif m.role == \'system\' %}<<{{ m.content }}>>"""{% else %} {{ m.content }}{{ eos_token }}{% endif %}'
    "{% endfor %}{% if add_generation_prompt %}{{ ' ' }}{% endif %}"
)


@pytest.mark.parametrize("template", ["", MISTRAL_LIKE], ids=["embedded", "awkward"])
def test_the_modelfile_renders_the_prompt_of_the_training(template: str, base_folder: Path) -> None:
    """Byte for byte, with quotes, Chinese, braces, and the standing system message where there is none."""
    tokenizer = load_tokenizer(base_folder)
    tokenizer.chat_template = template or tokenizer.chat_template
    text = write_modelfile(read_turns(tokenizer), gguf="m.gguf", stop="<|im_end|>", context_tokens=4096)
    commands = read_modelfile(text)
    assert commands["FROM"] == ["m.gguf"]
    assert commands["PARAMETER stop"] == ["<|im_end|>"]
    assert commands["PARAMETER num_ctx"] == ["4096"]
    for messages in CONVERSATIONS:
        wanted = render_text(tokenizer, messages, open_answer=True)
        assert GoTemplate(commands["TEMPLATE"][0]).render(messages) == wanted
    if not template:
        assert "named SmolLM" in GoTemplate(commands["TEMPLATE"][0]).render(CONVERSATIONS[0])
        assert "named SmolLM" not in GoTemplate(commands["TEMPLATE"][0]).render(CONVERSATIONS[2])


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}",
        "{% for m in messages %}{{ m.role }}: {{ m.content | upper }}\n{% endfor %}",
        "no messages at all",
        "{{ raise_exception('no system messages') }}",
    ],
)
def test_a_template_that_does_more_is_refused(template: str, base_folder: Path) -> None:
    """What a Modelfile cannot say is not said wrongly."""
    tokenizer = load_tokenizer(base_folder)
    tokenizer.chat_template = template
    with pytest.raises(DataError, match="no equal in a Modelfile") as caught:
        read_turns(tokenizer)
    assert "Leave ollama out" in caught.value.hint


def test_the_template_has_no_quotes_that_end_it(base_folder: Path) -> None:
    """Three quotes in a chat template do not end the Modelfile's value."""
    tokenizer = load_tokenizer(base_folder)
    tokenizer.chat_template = MISTRAL_LIKE
    assert '"""' not in go_template(read_turns(tokenizer))


# ---- the operation


def test_formats_are_read_from_a_line() -> None:
    """Any order and case; a Modelfile brings its GGUF file; what is unknown is named with the choices."""
    assert read_formats(" Ollama,adapter ") == (ExportFormat.ADAPTER, ExportFormat.GGUF_Q8_0, ExportFormat.OLLAMA)
    assert read_formats("ollama, gguf-f16") == (ExportFormat.GGUF_F16, ExportFormat.OLLAMA)
    for text, named in (("gguf-q5_k", "gguf-q5_k"), (" , ", "nothing")):
        with pytest.raises(SettingsError, match=named) as caught:
            read_formats(text)
        assert "gguf-q4_0" in caught.value.hint


@pytest.fixture
def tiny(context: Context, tiny_base: Path) -> ExportParams:
    """An adapter of a tiny base in the workspace, with a test split of its dataset; what exports it."""
    save_adapter(context.workspace.adapter("tiny"), tiny_base, KINDS["lora"])
    data = write_splits(context, "tiny")
    (data / "train.jsonl").rename(data / "test.jsonl")
    return ExportParams(adapter="tiny", base=str(tiny_base), formats="adapter")


def export(params: ExportParams, context: Context, formats: str = "", **changes: object) -> ExportReport:
    """Export with other parameters than the fixture's."""
    return export_adapter(params.model_copy(update={"formats": formats or params.formats, **changes}), context)


def test_every_format_is_written_and_compared(tiny: ExportParams, context: Context) -> None:
    """Each is a folder with a card; loaded again, its loss and its tokens are the original's."""
    report = export(tiny, context, ", ".join(ExportFormat))
    assert [each.format for each in report.formats] == list(ExportFormat)
    assert (report.compared_on, report.conversations) == ("the test split", len(ANSWERS))
    for each in report.formats:
        folder = Path(each.path)
        assert folder == context.workspace.root / "exports" / "tiny" / each.format
        assert each.size_mb > 0
        assert each.loss is not None
        assert each.difference_percent is not None
        assert each.original_loss is not None
        assert each.difference_percent == pytest.approx((each.loss / each.original_loss - 1) * 100, abs=2e-3)
        assert abs(each.difference_percent) < LIMITS_PERCENT.get(each.format, 0.1), each
        assert each.tokens_equal in ((None,) if "adapter" in each.format else (True,)), each
        card = (folder / CARD).read_text(encoding="utf-8")
        assert "How to run it" in card
        assert str(context.workspace.root) not in card
    assert not (context.workspace.root / "exports" / "tiny" / ".partial").exists()
    again = load_precise(Path(report.formats[1].path))
    assert again.config.tie_word_embeddings


def test_the_adapter_does_not_tell_where_its_base_lies(tiny: ExportParams, context: Context, tiny_base: Path) -> None:
    """Paths of this machine are not given away."""
    [done] = export(tiny, context).formats
    for path in Path(done.path).iterdir():
        if path.suffix in (".json", ".md"):
            assert str(tiny_base.parent) not in path.read_text(encoding="utf-8"), path


def test_what_stands_there_is_kept(tiny: ExportParams, context: Context, recorder: Any) -> None:
    """The same inputs are not worked on twice; a damaged file is written anew, another format beside it."""
    [first] = export(tiny, context).formats
    weights = Path(first.path) / "adapter_model.safetensors"
    written = weights.stat().st_mtime_ns
    assert export(tiny, context).formats == [first]
    assert weights.stat().st_mtime_ns == written
    assert any("up to date" in event.message for event in recorder.events if isinstance(event, Notice))
    weights.write_bytes(b"damaged")
    assert export(tiny, context).formats == [first]
    assert weights.stat().st_size > 1000
    both = export(tiny, context, "adapter, gguf-adapter").formats
    assert both[0] == first
    assert Path(both[1].path).is_dir()


def test_another_adapter_does_not_overwrite_an_export(tiny: ExportParams, context: Context, tiny_base: Path) -> None:
    """A folder of another model, or of a person, is refused before any work."""
    [first] = export(tiny, context).formats
    before = (Path(first.path) / "adapter_model.safetensors").read_bytes()
    save_adapter(context.workspace.adapter("tiny"), tiny_base, KINDS["rslora"])
    with pytest.raises(DataError, match="not overwritten") as caught:
        export(tiny, context)
    assert "--output" in caught.value.hint
    assert (Path(first.path) / "adapter_model.safetensors").read_bytes() == before
    other = context.workspace.root / "elsewhere"
    assert Path(export(tiny, context, output=other).formats[0].path) == other / "adapter"
    (other / "merged").mkdir()
    (other / "merged" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="not overwritten"):
        export(tiny, context, "merged", output=other)
    assert (other / "merged" / "mine.txt").read_text(encoding="utf-8") == "mine"


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file can grow beyond a tenth of a megabyte, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["merged", "gguf-q8_0"])
def test_a_full_disk_is_an_error_that_leaves_nothing(
    name: str, tiny: ExportParams, context: Context, small_files: None
) -> None:
    """Where writing fails, it says so with what to do, and no half of an export stays."""
    with pytest.raises(TrainingError, match="cannot be written") as caught:
        export(tiny, context, f"adapter, {name}")
    assert "Free some disk space" in caught.value.hint
    folder = context.workspace.root / "exports" / "tiny"
    assert sorted(path.name for path in folder.iterdir()) == ["adapter"]


def test_too_little_space_is_said_before_writing(
    tiny: ExportParams, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What will not fit is not begun."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=10**9, used=10**9, free=1_000_000))
    with pytest.raises(TrainingError, match="MiB free"):
        export(tiny, context)
    assert not (context.workspace.root / "exports" / "tiny").exists()


def test_an_interrupted_export_goes_on(tiny: ExportParams, workspace: Any) -> None:
    """What was whole stays, nothing else does; what a killed one left behind is dropped."""

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 1:
            raise KeyboardInterrupt

    context = open_context(workspace.root, emit=interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(tiny, context, "adapter, gguf-adapter")
    folder = context.workspace.root / "exports" / "tiny"
    assert [path.name for path in folder.iterdir()] == ["adapter"]
    left = folder / ".partial" / "files" / "gguf-adapter"
    left.mkdir(parents=True)
    (left / "half").write_text("half", encoding="utf-8")
    done = export(tiny, open_context(workspace.root), "adapter, gguf-adapter").formats
    assert sorted(path.name for path in Path(done[1].path).iterdir()) == [
        CARD,
        "manifest.json",
        "tiny-adapter.gguf",
    ]


def test_what_cannot_be_written_is_said_before_any_work(
    tiny: ExportParams, context: Context, tokenizer: PreTrainedTokenizerFast, tiny_base: Path, tmp_path: Path
) -> None:
    """An architecture that GGUF is not written for, a scaled rotation, DoRA as GGUF adapter, no adapter at all."""
    scaled = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    save_adapter(context.workspace.adapter("dora"), tiny_base, KINDS["dora"])
    bases = {
        "gpt2": GPT2Config(vocab_size=500, n_embd=64, n_layer=1, n_head=2),
        "linear": LlamaConfig(**TINY, rope_parameters=scaled),
    }
    cases: list[tuple[dict[str, object], str, type[AssistantError]]] = [
        ({"adapter": "none"}, "no adapter 'none'", DataError),
        ({"adapter": "dora", "formats": "gguf-adapter"}, "DoRA", DataError),
    ]
    for name, config in bases.items():
        base = save_tiny(tmp_path / name, tokenizer, config)
        cases.append(({"base": str(base), "formats": "adapter, gguf-f16"}, name, SettingsError))
    for changes, named, kind in cases:
        with pytest.raises(kind, match=named) as caught:
            export_adapter(tiny.model_copy(update=changes), context)
        assert caught.value.hint
    assert not (context.workspace.root / "exports").exists()


def test_without_held_out_conversations_nothing_is_claimed(tiny: ExportParams, context: Context) -> None:
    """No split, no comparison: the report and the card say so."""
    for split in ("test", "validation"):
        (context.workspace.dataset("tiny") / f"{split}.jsonl").unlink()
    report = export(tiny, context)
    assert (report.conversations, report.compared_on) == (0, "nothing")
    assert report.formats[0].loss is None
    assert "no conversations to compare" in (Path(report.formats[0].path) / CARD).read_text(encoding="utf-8")


# ---- the embedded model, trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A workspace whose adapter has begun to learn a few answers."""
    context = open_context(tmp_path_factory.mktemp("trained"), confirm=lambda plan: True)
    context.workspace.make()
    write_splits(context, "small")
    params = TrainParams(dataset="small", rank=4, epochs=2, learning_rate=4e-3)
    train_adapter(params, context)
    scores = {"metric": "quote_f1", "n": 7, "base": 0.2, "few_shot": 0.3, "tuned": 0.5, "verdict": "better"}
    scores["difference"] = {"low": 0.1, "high": 0.4}
    report = context.workspace.adapter("small") / "report.json"
    report.write_text(json.dumps({"report": scores}), encoding="utf-8")
    return context


@pytest.fixture(scope="module")
def exported(trained: Context) -> dict[str, ExportedFormat]:
    """The exports of the trained adapter, by format."""
    formats = "gguf-q8_0, gguf-adapter, ollama"
    report = export_adapter(ExportParams(adapter="small", formats=formats), trained)
    assert report.base == DEFAULT_BASE_MODEL
    assert report.compared_on == "the validation split"
    return {each.format: each for each in report.formats}


def test_eight_bits_answer_as_the_trained_model(
    exported: dict[str, ExportedFormat], trained: Context, base_folder: Path
) -> None:
    """Q8_0 is within two percent of the merged model, and far from the untrained one."""
    done = exported["gguf-q8_0"]
    assert done.difference_percent is not None
    assert abs(done.difference_percent) < 2.0
    assert done.tokens_equal
    merged = load_precise(base_folder)
    merge_adapter(merged, trained.workspace.adapter("small"))
    tokenizer = load_tokenizer(base_folder)
    answers = [say(question, answer) for question, answer in ANSWERS.items()]
    assert mean_loss(merged, tokenizer, answers) == pytest.approx(done.original_loss, abs=1e-4)
    untrained = mean_loss(load_precise(base_folder), tokenizer, answers)
    assert untrained is not None
    assert done.loss is not None
    assert done.loss < untrained - 0.5


def test_the_card_tells_how_it_was_made(exported: dict[str, ExportedFormat]) -> None:
    """Base, licence, training, scores, comparison and how to run it."""
    cards = {name: (Path(each.path) / CARD).read_text(encoding="utf-8") for name, each in exported.items()}
    for card in cards.values():
        assert DEFAULT_BASE_MODEL in card
        assert "Apache-2.0" in card
        assert "| learning_rate | 0.004 |" in card
        assert "On 7 held-out questions, by quote_f1: base 0.2" in card
    assert "llama-server --jinja -m small-q8_0.gguf" in cards["gguf-q8_0"]
    assert "--lora small-adapter.gguf" in cards["gguf-adapter"]
    assert "ollama create small -f Modelfile" in cards["ollama"]


def test_the_modelfile_finds_its_model(exported: dict[str, ExportedFormat]) -> None:
    """What FROM names lies where the Modelfile says."""
    folder = Path(exported["ollama"].path)
    [path] = read_modelfile((folder / "Modelfile").read_text(encoding="utf-8"))["FROM"]
    assert (folder / path).is_file()
    assert exported["ollama"].loss == exported["gguf-q8_0"].loss


@pytest.mark.parametrize("kind", ["gguf-q8_0", "gguf-adapter"])
def test_llama_cpp_answers_the_same(
    kind: str, exported: dict[str, ExportedFormat], trained: Context, base_folder: Path
) -> None:
    """llama.cpp loads the files, splits text into the same tokens and begins the same answer."""
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    file = next(Path(exported[kind].path).glob("*.gguf"))
    [model] = [model for model in CATALOG if model.name == DEFAULT_BASE_MODEL]
    params.model.path = str(file if kind == "gguf-q8_0" else packaged_files(model))
    params.n_ctx, params.port, params.warmup = 1024, 0, False
    if kind == "gguf-adapter":
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(file), 1.0)]
    server = xllamacpp.Server(params)

    def post(path: str, **body: object) -> Any:
        request = urllib.request.Request(
            f"{server.listening_address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        return json.load(urllib.request.urlopen(request))

    def answer(scale: float) -> str:
        lora = [{"id": 0, "scale": scale}] if kind == "gguf-adapter" else []
        messages = [{"role": "user", "content": QUESTION}]
        reply = post("/v1/chat/completions", messages=messages, max_tokens=12, temperature=0, lora=lora)
        return str(reply["choices"][0]["message"]["content"])

    engine = open_engine(base_folder, name="base", adapter=trained.workspace.adapter("small"))
    ours = "".join(engine.stream(say(QUESTION), Sampling(max_tokens=12)))
    assert answer(1.0)[:12] == ours[:12]
    assert kind == "gguf-q8_0" or answer(0.0) != answer(1.0)
    if kind == "gguf-q8_0":
        for conversation in CONVERSATIONS[:3]:
            text = render_text(engine.tokenizer, conversation, open_answer=True)
            tokens = post("/tokenize", content=text, parse_special=True, add_special=False)["tokens"]
            assert tokens == render_prompt(engine.tokenizer, conversation)
