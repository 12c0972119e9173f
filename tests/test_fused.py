"""Gradients written by hand: held against autograd's, and against numerical ones."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from pipelines.models.attention import Segment, attend_in_segments, causal_segments
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.local import load_model, load_tokenizer
from pipelines.models.packing import Pack, collate, join_packs, pack_examples, supervised_logits
from pipelines.models.render import Rendered, render_example
from pipelines.operation import open_context
from pipelines.records import Message
from pipelines.training.fused import _LoraProducts, _RootMeanSquareNorm, fuse_layers
from pipelines.training.quantize import add_adapter
from pipelines.training.student import Student
from tests.tiny_model import make_tiny_model

HEADS, GROUPS, SIZE = 4, 2, 8


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    like = open_context(tmp_path_factory.mktemp("base")).models.base_folder(DEFAULT_BASE_MODEL)
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), like=like)


@pytest.fixture(scope="module")
def packs(base: Path) -> list[Pack]:
    """Two packs: one of three examples with a common beginning, one of a single example."""
    tokenizer = load_tokenizer(base)
    shown = "The brass bell means fire, the silver bell means lunch, the tin bell means silence. " * 3
    texts = [
        (shown + asked, said) for asked, said in (("Fire?", "Brass."), ("Lunch?", "Silver."), ("Silence?", "Tin."))
    ]
    rendered = [_rendered(tokenizer, *text) for text in [*texts, ("Who?", "Nobody at all.")]]
    return pack_examples(rendered, max_tokens=400)


def _rendered(tokenizer: object, asked: str, said: str) -> Rendered:
    return render_example(tokenizer, (Message(role="user", content=asked), Message(role="assistant", content=said)))  # type: ignore[arg-type]


def dense_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: list[Segment], scale: float
) -> torch.Tensor:
    """Attention with a mask, by torch alone."""
    length = query.shape[2]
    allowed = torch.zeros(length, length, dtype=torch.bool)
    for segment in segments:
        allowed[segment.start : segment.end, segment.seen[0] : segment.seen[1]] = True
        own = slice(segment.start, segment.end)
        allowed[own, own] = torch.ones(segment.end - segment.start, segment.end - segment.start).tril().bool()
    wide = [each.repeat_interleave(HEADS // GROUPS, dim=1) for each in (key, value)]
    output = torch.nn.functional.scaled_dot_product_attention(query, *wide, attn_mask=allowed, scale=scale)
    return output.transpose(1, 2)


@settings(max_examples=25)
@given(
    prefix=st.integers(0, 600),
    branches=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_segments_attend_as_a_mask_does(prefix: int, branches: list[int], seed: int) -> None:
    """Outputs and gradients are those of dense attention with the mask that the segments describe."""
    torch.manual_seed(seed)
    segments = causal_segments(0, prefix)
    start = prefix
    for size in branches:
        segments.append(Segment(start=start, end=start + size, seen=(0, prefix)))
        start += size
    shapes = ((1, HEADS, start, SIZE), (1, GROUPS, start, SIZE), (1, GROUPS, start, SIZE))
    ours = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    theirs = [each.detach().clone().requires_grad_() for each in ours]
    weight = torch.randn(1, start, HEADS, SIZE, dtype=torch.double)
    found = attend_in_segments(*ours, segments, 0.3)
    wanted = dense_attention(*theirs, segments, 0.3)
    torch.testing.assert_close(found, wanted)
    (found * weight).sum().backward()
    (wanted * weight).sum().backward()
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, reference.grad)


def test_lora_products_have_numerical_gradients() -> None:
    """Of the input and of every adapter, for layers of different width and scale."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, dtype=torch.double, requires_grad=True)
    tensors = []
    for width in (4, 2):
        tensors += [torch.randn(width, 5, dtype=torch.double)]
        tensors += [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in ((3, 5), (width, 3))]
    assert torch.autograd.gradcheck(lambda x, *rest: _LoraProducts.apply(x, (0.5, 2.0), *rest), (x, *tensors))


def test_a_norm_is_that_of_transformers() -> None:
    """Output and gradient, in float32."""
    torch.manual_seed(0)
    theirs = LlamaRMSNorm(48, eps=1e-5)
    theirs.weight.data.normal_()
    x = torch.randn(5, 48, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    weight = torch.randn(5, 48)
    found, wanted = _RootMeanSquareNorm.apply(x, theirs.weight.detach(), 1e-5), theirs(y)
    torch.testing.assert_close(found, wanted)
    (found * weight).sum().backward()
    (wanted * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def fused_student(base: Path, *, fuse: bool) -> Student:
    """A student whose adapters have learnt something, so that all their parts count."""
    student = Student(add_adapter(load_model(base), rank=4, seed=0))
    torch.manual_seed(1)
    for parameter in student.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    assert (fuse_layers(student) if fuse else 14) == 14  # two layers of seven
    return student


def gradients(student: Student, pack: Pack) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of a pack, and the gradient of its loss."""
    batch = collate(pack)
    logits = supervised_logits(student.base, batch)
    torch.nn.functional.cross_entropy(logits.float(), batch.targets).backward()
    return logits.detach().float(), torch.cat([each.grad.float().flatten() for each in student.parameters()])  # type: ignore[union-attr]


def test_fused_layers_compute_the_same(base: Path, packs: list[Pack]) -> None:
    """Logits and gradients, up to the rounding of the number type."""
    plain, fused = (gradients(fused_student(base, fuse=fuse), packs[0]) for fuse in (False, True))
    assert float((plain[0] - fused[0]).abs().max()) < 0.05 * float(plain[0].abs().max())
    assert torch.nn.functional.cosine_similarity(plain[1], fused[1], dim=0) > 0.99
    assert float(fused[1].norm() / plain[1].norm()) == pytest.approx(1, rel=0.03)


def test_a_fused_student_can_be_its_reference(base: Path, packs: list[Pack]) -> None:
    """With the adapter switched off, the base model answers."""
    student = fused_student(base, fuse=True)
    batch = collate(packs[0])
    with student.as_reference():
        found = supervised_logits(student.base, batch).float()
    with torch.no_grad():
        wanted = supervised_logits(load_model(base), batch).float()
    assert float((found - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


def test_dropout_is_not_fused(base: Path) -> None:
    """A layer that drops inputs draws anew for each, so that it stays as it is."""
    model = load_model(base)
    config = peft.LoraConfig(r=2, lora_dropout=0.1, target_modules=["q_proj", "k_proj"], task_type="CAUSAL_LM")
    assert fuse_layers(Student(peft.get_peft_model(model, config, autocast_adapter_dtype=False))) == 0


def test_joined_packs_do_not_see_each_other(base: Path, packs: list[Pack]) -> None:
    """Each answer has the logits that it has alone."""
    assert len(packs) > 1
    model = load_model(base)
    with torch.no_grad():
        joined = supervised_logits(model, collate(join_packs(packs))).float()
        alone = torch.cat([supervised_logits(model, collate(pack)).float() for pack in packs])
    assert float((joined - alone).abs().max()) < 0.05 * float(alone.abs().max())
