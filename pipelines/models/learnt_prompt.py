"""Learnt prompts: virtual tokens that precede every sequence, held as keys and values of each layer.

Prefix tuning learns keys and values themselves. Prompt tuning and p-tuning learn embeddings,
which the base turns into keys and values once; of p-tuning's encoder, peft saves only what
it computes. So all three are served from the cache that they leave, and without peft; tests
hold the results against peft's own.

Source:
    Li and Liang 2021, prefix tuning, arXiv:2101.00190.
    Lester et al. 2021, prompt tuning, arXiv:2104.08691.
    Liu et al. 2021, p-tuning, arXiv:2103.10385.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from pipelines.errors import DataError
from pipelines.models.adapter import LEARNT_PROMPTS, read_config, read_weights
from pipelines.models.attention import Segment, new_cache

_SAVED = "prompt_embeddings"


@dataclass(frozen=True, kw_only=True)
class LearntPrompt:
    """What virtual tokens leave in the cache of a model."""

    keys: tuple[Tensor, ...]  # of each layer; float, (1, groups, tokens, size)
    values: tuple[Tensor, ...]

    @property
    def tokens(self) -> int:
        """How many virtual tokens there are."""
        return self.keys[0].shape[2]

    def begin_cache(self, *, capacity: int) -> Cache:
        """Return a cache that begins with the virtual tokens, with room for `capacity` positions after them."""
        cache = new_cache(len(self.keys), capacity=self.tokens + capacity)
        for layer, keys, values in zip(cache.layers, self.keys, self.values, strict=True):
            layer.update(keys, values)
        return cache

    def precede_packs(self, model: PreTrainedModel) -> None:
        """Have `model` compute every pack as what follows the virtual tokens, whoever asks it to."""
        model.get_decoder().register_forward_pre_hook(self._precede, with_kwargs=True)

    def _precede(
        self, _decoder: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        segments = options.get("segments")
        if segments is None:  # not a pack: the cache that came with it begins as it should
            return None
        length = options["input_ids"].shape[1]
        changed = {
            "segments": None,
            "attention_mask": self._mask(segments, length),
            "position_ids": options["position_ids"] + self.tokens,
            "past_key_values": self.begin_cache(capacity=length),
            "use_cache": True,
        }
        return args, options | changed

    def _mask(self, segments: Sequence[Segment], length: int) -> Tensor:
        """Return what is added to the scores so that all see the virtual tokens, and else what segments say."""
        first, dtype = self.tokens, self.keys[0].dtype
        mask = torch.full((length, first + length), torch.finfo(dtype).min, dtype=dtype)
        mask[:, :first] = 0
        for segment in segments:
            own = mask[segment.start : segment.end]
            own[:, first + segment.seen[0] : first + segment.seen[1]] = 0
            own[:, first + segment.start : first + segment.end].triu_(1)
        return mask[None, None]


@torch.no_grad()
def read_prompt(model: PreTrainedModel, folder: Path) -> LearntPrompt | None:
    """Return the learnt prompt of the adapter in `folder`, for `model`; None if it is of another kind.

    Raises:
        DataError: It cannot be read, or is of another model.
    """
    config = read_config(folder)
    if config.get("peft_type") not in LEARNT_PROMPTS:
        return None
    saved = read_weights(folder).get(_SAVED)
    if saved is None or saved.ndim != 2:
        raise DataError(f"the adapter in {folder} holds no learnt prompt", path=folder)
    saved = saved.to(model.dtype)
    try:
        if config["peft_type"] == "PREFIX_TUNING":
            prompt = _from_prefix(saved, config)
            if len(prompt.keys) != model.config.num_hidden_layers:
                raise ValueError(f"{len(prompt.keys)} layers, not {model.config.num_hidden_layers}")
            model(input_ids=torch.zeros(1, 1, dtype=torch.long), past_key_values=prompt.begin_cache(capacity=1))
            return prompt
        return _from_embeddings(saved, model)
    except (KeyError, RuntimeError, ValueError) as error:  # sizes that differ, wherever they meet
        raise DataError(f"the adapter in {folder} is for another model: {error}", path=folder) from error


def _from_prefix(saved: Tensor, config: Mapping[str, Any]) -> LearntPrompt:
    """Take keys and values apart; of each token, layer after layer, first its key and then its value."""
    layers, groups = config["num_layers"], config["num_attention_heads"]
    by_layer = saved.view(len(saved), layers, 2, groups, -1).permute(1, 2, 3, 0, 4)  # layer, which, group, token, size
    keys, values = by_layer[:, 0, None], by_layer[:, 1, None]
    return LearntPrompt(keys=tuple(keys), values=tuple(values))


def _from_embeddings(saved: Tensor, model: PreTrainedModel) -> LearntPrompt:
    cache = new_cache(int(model.config.num_hidden_layers), capacity=len(saved))
    model.get_decoder()(inputs_embeds=saved[None], past_key_values=cache, use_cache=True)
    return LearntPrompt(
        keys=tuple(layer.keys for layer in cache.layers), values=tuple(layer.values for layer in cache.layers)
    )
