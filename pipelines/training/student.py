"""The model that is trained, whichever method attached what is trainable to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peft
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from pipelines.errors import TrainingError
from pipelines.models import packing
from pipelines.models.adapter import CONFIG_FILE, FULL, WEIGHTS_FILE
from pipelines.models.packing import Pack, collate
from pipelines.training.place import why_unwritten


class Student:
    """A model with its trainable parameters: an adapter's, a prompt's, or all of its own."""

    def __init__(self, model: peft.PeftModel | PreTrainedModel) -> None:
        self.model = model
        self.base: PreTrainedModel = model.get_base_model() if isinstance(model, peft.PeftModel) else model
        self.is_prompt = isinstance(model, peft.PeftModel) and model.active_peft_config.is_prompt_learning
        allocator = getattr(getattr(model, "base_model", None), "rankallocator", None)
        self._allocator = allocator if isinstance(model, peft.PeftModel) else None

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return what is trained."""
        return [each for each in self.model.parameters() if each.requires_grad]

    def supervised_logits(self, pack: Pack) -> tuple[Tensor, Tensor]:
        """Return the logits before each answer token, float, (supervised, vocabulary), and those tokens."""
        batch = collate(pack)
        if not self.is_prompt:
            return packing.supervised_logits(self.base, batch), batch.targets
        if len(pack.branches) > 1:
            raise ValueError("a learnt prompt precedes every example, so examples cannot share a sequence")
        logits = self.model(input_ids=batch.input_ids, attention_mask=torch.ones_like(batch.input_ids)).logits
        return logits[:, -batch.input_ids.shape[1] :][batch.predicts], batch.targets

    def answer_hidden(self, pack: Pack) -> Tensor:
        """Return the last hidden state of each branch; float, (branches, size)."""
        hidden = packing.hidden_states(self.base, collate(pack))
        return hidden[0, [branch.end - 1 for branch in pack.branches]]

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Be the model that training started from, without gradients.

        Raises:
            TrainingError: All of its weights are trained, so that it no longer is there.
        """
        if not isinstance(self.model, peft.PeftModel):
            raise TrainingError(
                "full fine-tuning keeps no copy of the model that it started from, which this objective needs",
                hint="Use --method lora or qlora.",
            )
        with torch.no_grad(), self.model.disable_adapter():
            yield

    def extra_loss(self) -> Tensor | None:
        """Return what the method itself adds to a step's loss; None for most."""
        if self._allocator is None:
            return None
        # AdaLoRA keeps its factors orthogonal (Zhang et al. 2023, section 3.1, arXiv:2303.10512).
        weight = self.model.active_peft_config.orth_reg_weight
        factors = [each for name, each in self.model.named_parameters() if "lora_A" in name or "lora_B" in name]
        products = [each @ each.T if each.shape[0] < each.shape[1] else each.T @ each for each in factors]
        deviations = [torch.linalg.norm(product - torch.eye(len(product))) for product in products]
        loss: Tensor = weight * torch.stack(deviations).mean()
        return loss

    def after_step(self, step: int) -> bool:
        """Let the method change its parameters after a step; return whether it did. Needs their gradients."""
        if self._allocator is None:
            return False
        self.model.base_model.update_and_allocate(step)
        return True

    def state(self) -> dict[str, object]:
        """Return what the method remembers besides its parameters."""
        names = ("ipt", "exp_avg_ipt", "exp_avg_unc")
        return {name: getattr(self._allocator, name) for name in names} if self._allocator is not None else {}

    def restore(self, state: dict[str, object]) -> None:
        """Take up what `state` returned in an earlier process."""
        for name, value in state.items():
            setattr(self._allocator, name, value)

    def save(self, folder: Path) -> None:
        """Write the adapter, in float32; after full fine-tuning, all weights in the same file.

        Raises:
            TrainingError: It cannot be written.
        """
        try:
            if isinstance(self.model, peft.PeftModel):
                self.model.save_pretrained(str(folder))
            else:
                weights = {name: each.detach().clone() for name, each in self.model.named_parameters()}
                save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
                (folder / CONFIG_FILE).write_text(json.dumps({"peft_type": FULL}) + "\n", encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"the adapter cannot be written to {folder}: {why_unwritten(error)}",
                hint="Free some disk space and run the same command again.",
            ) from error
        (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
