"""Layers of a student with hand-written gradients: the same numbers with fewer passes over memory.

What autograd does with a LoRA layer on a CPU is mostly small products and passes over large
tensors: the adapter's output is scaled, then added, and the gradients of layers with the same
input are summed one by one. Here layers that read the same input (query, key and value; gate
and up) are computed together, and every sum is accumulated by the product that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor
from torch.autograd import Function

from pipelines.training.student import Student

# Layers with one input, by the names that most decoders give them; others stand alone.
_SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class _LoraProducts(Function):
    """Outputs of several LoRA layers over one input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scales: Sequence[float], *tensors: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        """Compute x W' + s (x A') B' for each layer; `tensors` are W, A and B of each in turn.

        x: float, (..., in). W: (out, in). A: (rank, in). B: (out, rank).
        """
        weights, downs, ups = tensors[0::3], tensors[1::3], tensors[2::3]
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ torch.cat(downs).T  # (rows, layers * rank)
        parts = torch.split(low, [len(down) for down in downs], dim=1)
        outputs = []
        for weight, up, part, scale in zip(weights, ups, parts, scales, strict=True):
            output = rows @ weight.T
            outputs.append(output.addmm_(part, up.T, alpha=scale).view(*x.shape[:-1], -1))
        ctx.save_for_backward(rows, low, *tensors)
        ctx.scales, ctx.shape = scales, x.shape
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradients of the input and of each A and B."""
        rows, low, *tensors = ctx.saved_tensors
        weights, downs, ups = tensors[0::3], tensors[1::3], tensors[2::3]
        given = [grad.reshape(len(rows), -1) for grad in grads]
        parts = torch.split(low, [len(down) for down in downs], dim=1)
        small = [grad @ up * scale for grad, up, scale in zip(given, ups, ctx.scales, strict=True)]
        together = torch.cat(small, dim=1)  # (rows, layers * rank)
        input_grad = None
        if ctx.needs_input_grad[0]:
            input_grad = together @ torch.cat(downs)
            for grad, weight in zip(given, weights, strict=True):
                input_grad.addmm_(grad, weight)
            input_grad = input_grad.view(ctx.shape)
        down_grads = torch.split(together.T @ rows, [len(down) for down in downs])
        found: list[Tensor | None] = [input_grad, None]
        for grad, part, scale, down_grad in zip(given, parts, ctx.scales, down_grads, strict=True):
            found += [None, down_grad, (grad.T @ part).mul_(scale)]
        return tuple(found)


class _Together:
    """LoRA layers that read the same input; the first one asked computes for all."""

    def __init__(self, layers: Sequence[LoraLinear]) -> None:
        self._layers = layers
        self._input: Tensor | None = None
        self._outputs: dict[int, Tensor] = {}

    def output(self, place: int, x: Tensor) -> Tensor:
        """Return the output of one layer; each may be asked once for an input."""
        if self._input is not x or place not in self._outputs:
            self._input = x
            self._outputs = dict(enumerate(_products(self._layers, x)))
        output = self._outputs.pop(place)
        if not self._outputs:
            self._input = None
        return output


class _RootMeanSquareNorm(Function):
    """A root mean square norm with its gains; statistics in float32.

    Source:
        Zhang and Sennrich 2019, Root Mean Square Layer Normalization, arXiv:1910.07467.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gains: Tensor, epsilon: float) -> Tensor:  # noqa: ANN401
        """Normalize x; float, (..., size)."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = torch.rsqrt(norm.square() / x.shape[-1] + epsilon).to(x.dtype)
        ctx.save_for_backward(x, gains, inverse)
        return (x * inverse).mul_(gains)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradient of x."""
        x, gains, inverse = ctx.saved_tensors
        scaled = grad * gains
        normal = x * inverse
        mean = torch.linalg.vecdot(scaled, normal).div_(x.shape[-1]).unsqueeze(-1)
        return scaled.addcmul_(normal, mean, value=-1).mul_(inverse), None, None


def fuse_layers(student: Student) -> int:
    """Compute the student's LoRA layers and norms in this way; return how many layers that are.

    Layers of other kinds stay as they are.
    """
    fused = 0
    for module in student.base.modules():
        children = dict(module.named_children())
        grouped = [[name for name in names if _is_plain(children.get(name))] for names in _SAME_INPUT]
        alone = [[name] for name in children if _is_plain(children[name]) and not any(name in each for each in grouped)]
        for names in (*grouped, *alone):
            layers = [children[name] for name in names]
            together = _Together(layers)
            for place, layer in enumerate(layers):
                layer.forward = _forward(together, place, layer)
            fused += len(layers)
        if type(module).__name__.endswith("RMSNorm") and not module.weight.requires_grad:
            module.forward = _norm(module)
    return fused


def _forward(together: _Together, place: int, layer: Any) -> Any:  # noqa: ANN401 - peft's layers have no types
    whole = layer.forward

    def forward(x: Tensor, *args: Any, **options: Any) -> Tensor:  # noqa: ANN401
        if layer.disable_adapters or layer.merged or args or options:
            return whole(x, *args, **options)  # type: ignore[no-any-return]
        return together.output(place, x)

    return forward


def _norm(module: Any) -> Any:  # noqa: ANN401
    def forward(x: Tensor) -> Tensor:
        return _RootMeanSquareNorm.apply(x, module.weight, module.variance_epsilon)  # type: ignore[no-any-return, no-untyped-call]

    return forward


def _products(layers: Sequence[Any], x: Tensor) -> tuple[Tensor, ...]:
    scales, tensors = [], []
    for layer in layers:
        [name] = layer.active_adapters
        scales.append(layer.scaling[name])
        tensors += [layer.base_layer.weight, layer.lora_A[name].weight, layer.lora_B[name].weight]
    return _LoraProducts.apply(x, scales, *tensors)  # type: ignore[no-any-return, no-untyped-call]


def _is_plain(module: Any) -> bool:  # noqa: ANN401 - peft's layers have no types
    """Whether it is a LoRA layer of the simple kind over a plain linear one."""
    if type(module) is not LoraLinear or type(module.base_layer) is not torch.nn.Linear:
        return False
    [name] = module.active_adapters
    has_dropout = not isinstance(module.lora_dropout[name], torch.nn.Identity)
    is_same_type = module.lora_A[name].weight.dtype == module.base_layer.weight.dtype
    return module.base_layer.bias is None and not module.use_dora[name] and not has_dropout and is_same_type
