"""The plain path: stock `generate` and forward passes with hooks, everything computed each time.

Slow and obvious. The fast engine must decide as it does; it also redoes what was decided by less
than the margin of rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from hones_core.engine.results import Answer, Ranked
from hones_core.models.adapter import Adapter, Batch, following_positions

NAN = float("nan")


@dataclass(frozen=True)
class Prompts:
    """A chunk of prompts of a generation task, and their targets' token ids or None."""

    images: Sequence[Image.Image]
    texts: Sequence[str]
    targets: Sequence[Sequence[int]] | None


@dataclass(frozen=True)
class Query:
    """One image, the full prompt of each candidate, the positive's index, and ids of Yes and No."""

    image: Image.Image
    texts: Sequence[str]
    positive: int
    yes_no: tuple[int, int]


@dataclass(frozen=True)
class Forced:
    """Teacher-forced targets behind the prompts of a batch.

    batch: prompts and targets, [B, T + A]; target_ids [B, A] and target_mask [B, A] (True for
    real target tokens, which start at position T).
    """

    batch: Batch
    target_ids: Tensor
    target_mask: Tensor


def answers(adapter: Adapter, prompts: Prompts, max_new_tokens: int) -> list[Answer]:
    """Greedy answers and target log-probabilities of the model as it is at this moment.

    Raises FloatingPointError if a logit is NaN or infinite.
    """
    inputs = adapter.inputs(list(prompts.images), list(prompts.texts))
    tokens = adapter.model.generate(
        **inputs,
        generation_config=greedy_config(adapter, max_new_tokens),
        logits_processor=LogitsProcessorList([_RefuseNonFinite(adapter)]),
    )[:, inputs["input_ids"].shape[1] :]
    means = firsts = torch.full((len(tokens),), NAN)
    if prompts.targets is not None:
        batch = adapter.encode(list(prompts.images), list(prompts.texts))
        means, firsts = forced_logprobs(adapter, force(adapter, batch, prompts.targets))
    return [
        Answer(_until_stop(row, adapter.stop_ids), mean, first)
        for row, mean, first in zip(tokens.tolist(), means.tolist(), firsts.tolist(), strict=True)
    ]


def ranked(adapter: Adapter, query: Query, rows_at_once: int) -> Ranked:
    """One query ranked by full prompts, image and all, `rows_at_once` candidates at a time."""
    logits = torch.cat(
        [
            _last_logits(adapter, query.image, query.texts[start : start + rows_at_once])
            for start in range(0, len(query.texts), rows_at_once)
        ]
    )
    yes, no = query.yes_no
    margins = (logits[:, yes] - logits[:, no]).double().tolist()
    return Ranked(margins, float(logits[query.positive].log_softmax(-1)[yes]))


def greedy_settings(adapter: Adapter, max_new_tokens: int) -> dict[str, Any]:
    """Greedy decoding without any penalty (METHOD 2), as builtins of a GenerationConfig.

    End-of-sequence ids are the model's own. What is not named here is transformers' default: the
    adapter keeps nothing else of the checkpoint's config. The fast engine decodes the same way.
    """
    pad = adapter.tokenizer.pad_token_id
    return {
        "do_sample": False,
        "num_beams": 1,
        "max_new_tokens": max_new_tokens,
        "repetition_penalty": 1.0,
        "eos_token_id": list(adapter.stop_ids),
        "pad_token_id": adapter.stop_ids[0] if pad is None else pad,
    }


def greedy_config(adapter: Adapter, max_new_tokens: int) -> GenerationConfig:
    """What `generate` takes, of `greedy_settings`."""
    return GenerationConfig(**greedy_settings(adapter, max_new_tokens))


def force(adapter: Adapter, batch: Batch, targets: Sequence[Sequence[int]]) -> Forced:
    """Append targets (token ids) to the prompts of a left-padded batch."""
    width = max(len(target) for target in targets)
    ids = torch.tensor([list(target) + [0] * (width - len(target)) for target in targets])
    lengths = torch.tensor([len(target) for target in targets])
    mask = torch.arange(width) < lengths[:, None]
    ids, mask = ids.to(adapter.device), mask.to(adapter.device)
    forced = Batch(
        torch.cat([batch.embeddings, adapter.embed(ids).to(batch.embeddings.dtype)], 1),
        torch.cat([batch.attention_mask, mask.to(batch.attention_mask.dtype)], 1),
        torch.cat([batch.input_ids, ids], 1),
        torch.cat([batch.positions, following_positions(batch.positions, width)], -1),
    )
    return Forced(forced, ids, mask)


def forced_logits(adapter: Adapter, forced: Forced) -> Tensor:
    """Logits [B, A, V] (float32, where the unembedding is) that predict the targets' tokens."""
    length = forced.target_ids.shape[1]
    answering = torch.zeros_like(forced.batch.attention_mask, dtype=torch.bool)
    answering[:, -length - 1 :] = True
    hidden = adapter.hidden_states(forced.batch, answering)
    return adapter.logits(hidden[:, -length - 1 : -1])


def forced_logprobs(adapter: Adapter, forced: Forced) -> tuple[Tensor, Tensor]:
    """Mean log-probability of each row's target tokens [B], and of the first one [B]."""
    logprobs = forced_logits(adapter, forced).log_softmax(-1)
    ids, mask = (part.to(logprobs.device) for part in (forced.target_ids, forced.target_mask))
    tokens = logprobs.gather(-1, ids[..., None]).squeeze(-1).double()
    return (tokens * mask).sum(-1) / mask.sum(-1), tokens[:, 0]


def _last_logits(adapter: Adapter, image: Image.Image, texts: Sequence[str]) -> Tensor:
    batch = adapter.encode([image] * len(texts), list(texts))
    return adapter.logits(adapter.hidden_states(batch)[:, -1])


def _until_stop(tokens: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    """The tokens up to the first stop token, that one included."""
    for place, token in enumerate(tokens, start=1):
        if token in stop_ids:
            return list(tokens[:place])
    return list(tokens)


class _RefuseNonFinite(LogitsProcessor):
    """Stops `generate` at NaN or infinite logits, of which it would take some token silently."""

    def __init__(self, adapter: Adapter):
        self.adapter = adapter

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.adapter.require_finite(scores)
        return scores
