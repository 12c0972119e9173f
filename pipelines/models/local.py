"""A causal language model from a Hugging Face folder, run in this process by transformers."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers.decoders import DecodeStream
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from pipelines.errors import SettingsError
from pipelines.models.adapter import adapter_name, merge_adapter
from pipelines.models.attention import register_attention
from pipelines.models.constraint import SchemaCompiler
from pipelines.models.decode import Decoder, Prefilled, Row
from pipelines.models.engine import Completion, Loss, Prompt, Sampling
from pipelines.models.hardware import fast_dtype
from pipelines.models.learnt_prompt import LearntPrompt, read_prompt
from pipelines.models.packing import answer_losses, pack_examples
from pipelines.models.prefix import PrefixGroup, group_by_prefix
from pipelines.models.render import encode_text, end_token, render_example, render_prompt
from pipelines.records import Message

# A wave is what is decoded together: more rows use the processor better, up to a point,
# and every cached token takes memory (23 kB for SmolLM2-135M in bfloat16).
_WAVE_ROWS = 64
_WAVE_TOKENS = 24_000


class LocalEngine:
    """An `Engine` over a model in this process."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        name: str,
        prompt: LearntPrompt | None = None,
    ) -> None:
        self._name = name
        self.tokenizer = tokenizer
        self.model = model
        self.model.eval()
        self._end_tokens = _end_tokens(self.model, self.tokenizer)
        self._decoder = Decoder(self.model, self.tokenizer, end_tokens=self._end_tokens, prompt=prompt)
        self._learnt_tokens = prompt.tokens if prompt else 0
        if prompt:
            prompt.precede_packs(self.model)

    @property
    def name(self) -> str:
        """Name that changes whenever the weights do."""
        return self._name

    @property
    def context_tokens(self) -> int:
        """Longest sequence that the model was made for, after a learnt prompt."""
        return int(self.model.config.max_position_embeddings) - self._learnt_tokens

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Continue every prompt; yield its index and its branches, a wave at a time."""
        encoded = [self.encode(prompt) for prompt in prompts]
        self._check_lengths(encoded, sampling)
        rows = max(1, _WAVE_ROWS // sampling.branches)
        longest = max(map(len, encoded), default=1) + sampling.max_tokens
        rows = min(rows, max(1, _WAVE_TOKENS // (longest * sampling.branches)))
        shareable = [len(tokens) - 1 for tokens in encoded]
        groups = group_by_prefix(encoded, shareable=shareable, max_members=rows, max_tokens=_WAVE_TOKENS)
        for wave in _waves(groups, rows=rows):
            yield from self._run_wave(wave, encoded, sampling)

    @torch.inference_mode()
    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """Continue one prompt, piece by piece; closing the iterator stops the model."""
        encoded = [self.encode(prompt)]
        self._check_lengths(encoded, sampling)
        group = PrefixGroup(members=(0,), length=0)
        state = self._start([group], encoded, sampling)
        decoder = DecodeStream(skip_special_tokens=True)
        row = state.rows[0]
        while True:
            tokens = self._decoder.choose(state, sampling)
            grown = len(row.tokens)
            self._decoder.accept(state, tokens, sampling)
            if len(row.tokens) > grown:
                piece = decoder.step(self.tokenizer.backend_tokenizer, row.tokens[-1])
                if piece:
                    yield piece
            if row.finish:
                return
            self._decoder.step(state, tokens)

    @torch.inference_mode()
    def losses(self, conversations: Sequence[tuple[Message, ...]]) -> list[Loss]:
        """Return the loss of each conversation's last message, given the ones before."""
        rendered = [render_example(self.tokenizer, conversation) for conversation in conversations]
        found: dict[int, Loss] = {}
        for pack in pack_examples(rendered, max_tokens=2048):
            for index, nats, tokens in answer_losses(self.model, pack):
                found[index] = Loss(nats=nats, tokens=tokens)
        return [found[index] for index in range(len(rendered))]

    def count_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens a prompt is."""
        return len(self.encode(prompt))

    def encode(self, prompt: Prompt) -> list[int]:
        """Return a prompt as tokens."""
        if isinstance(prompt, str):
            return encode_text(self.tokenizer, prompt)
        return render_prompt(self.tokenizer, prompt)

    def _check_lengths(self, encoded: Sequence[Sequence[int]], sampling: Sampling) -> None:
        longest = max(map(len, encoded), default=0) + sampling.max_tokens
        if longest > self.context_tokens:
            raise SettingsError(
                f"a prompt of {longest} tokens, answer included, does not fit "
                f"the {self.context_tokens} tokens of {self._name}",
                hint="Show fewer or shorter passages.",
            )

    def _run_wave(
        self, groups: Sequence[PrefixGroup], encoded: Sequence[Sequence[int]], sampling: Sampling
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        state = self._start(groups, encoded, sampling)
        finished: dict[tuple[int, int], Completion] = {}
        wanted = [(row.index, row.branch) for row in state.rows]
        while state.rows:
            tokens = self._decoder.choose(state, sampling)
            self._decoder.accept(state, tokens, sampling)
            running = [number for number, row in enumerate(state.rows) if not row.finish]
            for row in state.rows:
                if row.finish and (row.index, row.branch) not in finished:
                    finished[row.index, row.branch] = self._decoder.complete(row, sampling)
            if not running:
                break
            # Rows that have ended cost as much as others, until they are dropped.
            if len(running) <= len(state.rows) * 3 // 4:
                self._decoder.keep(state, running)
                tokens = tokens[torch.tensor(running)]
            self._decoder.step(state, tokens)
        for index in dict.fromkeys(index for index, _ in wanted):
            yield index, tuple(finished[key] for key in wanted if key[0] == index)

    def _start(self, groups: Sequence[PrefixGroup], encoded: Sequence[Sequence[int]], sampling: Sampling) -> Prefilled:
        """Compute the prompts of a wave, and split each row into its branches."""
        rows = [self._new_row(index, 0, encoded[index], sampling) for group in groups for index in group.members]
        state = self._decoder.prefill(groups, encoded, rows, new=sampling.max_tokens)
        if not sampling.starts:
            return state
        starts = self._start_tokens(sampling.starts)
        best = state.logits[:, starts].topk(sampling.branches, dim=-1).indices
        first = starts[best].flatten()
        self._decoder.keep(state, [number for number in range(len(rows)) for _ in range(sampling.branches)])
        state.rows = [
            self._new_row(row.index, branch, encoded[row.index], sampling)
            for row in rows
            for branch in range(sampling.branches)
        ]
        self._decoder.accept(state, first, sampling)
        self._decoder.step(state, first)
        return state

    def _new_row(self, index: int, branch: int, prompt: Sequence[int], sampling: Sampling) -> Row:
        # Seeded by the prompt, not by its place: what is drawn for it must not depend on
        # which other prompts are asked in the same call.
        seed = zlib.crc32(repr((sampling.seed, branch, tuple(prompt))).encode())
        constraint = self._compiler().start(sampling.schema) if sampling.schema is not None else None
        return Row(
            index=index,
            branch=branch,
            tokens_in=len(prompt),
            generator=torch.Generator().manual_seed(seed),
            constraint=constraint,
        )

    @functools.cache  # noqa: B019 - one engine lives as long as its process needs it
    def _compiler(self) -> SchemaCompiler:
        return SchemaCompiler(self.tokenizer, end_token=end_token(self.tokenizer))

    def _start_tokens(self, starts: Sequence[str]) -> torch.Tensor:
        tokens = dict.fromkeys(encode_text(self.tokenizer, start)[0] for start in starts)
        return torch.tensor(list(tokens))


def open_engine(folder: Path, *, name: str, adapter: Path | None = None) -> LocalEngine:
    """Load the model in `folder`, with an adapter merged into it, or put before it, if one is given."""
    model = load_model(folder)
    full_name, prompt = name, None
    if adapter is not None:
        full_name = f"{name}+{adapter_name(adapter)}"
        prompt = read_prompt(model, adapter)
        if prompt is None:
            merge_adapter(model, adapter)
    return LocalEngine(model, load_tokenizer(folder), name=full_name, prompt=prompt)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer of the model in `folder`."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def context_tokens(folder: Path) -> int | None:
    """Return the longest sequence that the model in `folder` was made for; None if it does not say."""
    length = getattr(AutoConfig.from_pretrained(folder, local_files_only=True), "max_position_embeddings", None)
    return int(length) if length else None


def load_model(folder: Path, **options: object) -> PreTrainedModel:
    """Load the causal language model in `folder` in the number type that is fast here.

    Raises:
        SettingsError: The folder does not hold such a model.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            dtype=fast_dtype(),
            attn_implementation=register_attention(),
            **options,
        )
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(
            f"{folder} does not hold a causal language model that transformers can load: {reason}"
        ) from error


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    configured = model.generation_config.eos_token_id if model.generation_config else None
    listed = configured if isinstance(configured, list) else [configured]
    tokens = {token for token in (*listed, tokenizer.eos_token_id, tokenizer.pad_token_id) if token is not None}
    return frozenset(int(token) for token in tokens)


def _waves(groups: Sequence[PrefixGroup], *, rows: int) -> Iterator[list[PrefixGroup]]:
    wave: list[PrefixGroup] = []
    for group in groups:
        if wave and sum(len(each.members) for each in wave) + len(group.members) > rows:
            yield wave
            wave = []
        wave.append(group)
    if wave:
        yield wave
