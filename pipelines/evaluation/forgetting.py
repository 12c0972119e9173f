"""What tuning did to what a model could do before, on general texts that come with the program."""

from __future__ import annotations

import importlib.resources
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedTokenizerFast

from pipelines.evaluation.report import Forgetting, GeneralLoss
from pipelines.models.local import LocalEngine, open_engine
from pipelines.models.packing import collate, pack_examples, supervised_logits
from pipelines.models.render import Rendered, encode_text, end_token, render_example
from pipelines.records import Language, Message, Record

_PACK_TOKENS = 256  # the logits of a pack, for two models, are held at once
_MOST_TOKENS = 160  # of one text
_FILE = "general.jsonl"


class GeneralText(Record):
    """A text on common knowledge, or an instruction and its answer."""

    kind: Literal["text", "instruction"]
    language: Language
    asked: str = ""
    text: str


class _Sums:
    """Sums over the tokens of some texts."""

    def __init__(self) -> None:
        self.base = self.tuned = self.kl = 0.0
        self.tokens = 0

    def add(self, base: float, tuned: float, kl: float, tokens: int) -> None:
        """Add the sums of a text."""
        self.base, self.tuned, self.kl = self.base + base, self.tuned + tuned, self.kl + kl
        self.tokens += tokens

    def means(self) -> dict[str, float]:
        """Return the means over the tokens."""
        return {name: round(getattr(self, name) / max(1, self.tokens), 4) for name in ("base", "tuned", "kl")}


def read_general_texts() -> list[GeneralText]:
    """Return the texts that come with the program."""
    source = importlib.resources.files("pipelines.evaluation").joinpath("data", _FILE)
    return [GeneralText.model_validate_json(line) for line in source.read_text(encoding="utf-8").splitlines()]


def measure_forgetting(
    base: LocalEngine, tuned: LocalEngine, texts: Iterable[GeneralText], *, progress: Callable[[int], None]
) -> Forgetting:
    """Compare the losses and the predictions of a model before and after tuning.

    Args:
        base: The model before.
        tuned: The model after.
        texts: What neither was tuned on.
        progress: Told how many kinds of texts are done.
    """
    groups: dict[tuple[Literal["text", "instruction"], Language], list[Rendered]] = defaultdict(list)
    for text in texts:
        groups[text.kind, text.language].append(_render(base.tokenizer, text))
    whole, parts = _Sums(), []
    for done, ((kind, language), rendered) in enumerate(groups.items(), start=1):
        sums = _Sums()
        for each in _compare(base, tuned, rendered):
            sums.add(*each)
            whole.add(*each)
        parts.append(GeneralLoss(kind=kind, language=language, tokens=sums.tokens, **sums.means()))
        progress(done)
    return Forgetting(parts=parts, tokens=whole.tokens, **whole.means())


def open_pair(folder: Path, adapter: Path, *, name: str) -> tuple[LocalEngine, LocalEngine]:
    """Return a base model and what an adapter makes of it, each with weights of its own."""
    return open_engine(folder, name=name), open_engine(folder, name=name, adapter=adapter)


def _render(tokenizer: PreTrainedTokenizerFast, text: GeneralText) -> Rendered:
    """Return a text as tokens: all but the first are predicted, or those of the answer."""
    if text.kind == "instruction":
        turns = (Message(role="user", content=text.asked), Message(role="assistant", content=text.text))
        return render_example(tokenizer, turns)
    tokens = [end_token(tokenizer), *encode_text(tokenizer, text.text)][:_MOST_TOKENS]
    return Rendered(prompt=tuple(tokens[:1]), answer=tuple(tokens[1:]))


@torch.inference_mode()
def _compare(
    base: LocalEngine, tuned: LocalEngine, rendered: list[Rendered]
) -> Iterator[tuple[float, float, float, int]]:
    """Yield, pack by pack, the summed losses of both, the summed divergence, and the number of tokens."""
    for pack in pack_examples(rendered, max_tokens=_PACK_TOKENS):
        batch = collate(pack)
        before, after = (
            torch.log_softmax(supervised_logits(engine.model, batch).float(), dim=-1) for engine in (base, tuned)
        )
        losses = [-each.gather(-1, batch.targets[:, None]).sum().item() for each in (before, after)]
        divergence = torch.nn.functional.kl_div(after, before, reduction="sum", log_target=True)
        yield losses[0], losses[1], divergence.item(), len(batch.targets)
