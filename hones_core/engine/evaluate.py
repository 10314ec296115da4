"""Run one task's instances through a model: encode once, then measure under any intervention.

`prepare` does what does not depend on the intervention (reading images, the vision tower,
tokenising); `outcomes` runs the language model as it is at that moment, with whatever
interventions are applied. Both always see the same rows with the same padding, so that base and
intervened results are paired (METHOD 13).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor
from transformers import (
    Cache,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from hones_core.benchmark.images import open_image
from hones_core.models.adapter import Adapter, Batch, following_positions
from hones_core.tasks import get_task
from hones_core.tasks.instances import Instance


@dataclass(frozen=True)
class Outcome:
    """What one instance gave: text (retrieval: best candidate), utility and log-probabilities.

    utility in [0, 1]; statistics as `tasks` sums them; target_logprob is the mean over the
    target's tokens, first_token_logprob that of the first, both teacher-forced, in nat; NaN where
    the chunk was prepared without targets.
    """

    instance_id: str
    prediction: str
    utility: float
    statistics: list[float]
    target_logprob: float
    first_token_logprob: float


@dataclass(frozen=True)
class Forced:
    """Teacher-forced targets behind the prompts of a batch.

    batch: prompts and targets, [B, T + A]; target_ids [B, A] and target_mask [B, A] (True for
    real target tokens, which start at position T).
    """

    batch: Batch
    target_ids: Tensor
    target_mask: Tensor


@dataclass(frozen=True)
class PreparedGeneration:
    """A chunk of instances of a generation task, ready to run; `forced` if targets are scored."""

    instances: Sequence[Instance]
    batch: Batch
    forced: Forced | None


@dataclass(frozen=True)
class PreparedRanking:
    """A chunk of Q queries: their prompts' shared prefixes, and all N candidates' suffixes.

    prefix: [Q, P]; owner [N]: the query of each candidate; suffix_ids [N, S], padded on the right
    to S from their true lengths [N]; yes_no: the ids of the two answers in context.
    """

    instances: Sequence[Instance]
    prefix: Batch
    owner: Tensor
    suffix_ids: Tensor
    lengths: Tensor
    yes_no: tuple[int, int]


class Evaluator:
    """One task on one model.

    `batch_size` counts language-model rows; `image_folder` is where the task's images lie.
    """

    def __init__(
        self,
        adapter: Adapter,
        task: str,
        image_folder: str | Path,
        batch_size: int,
        max_new_tokens: int = 24,
    ):
        self.adapter = adapter
        self.task_name = task
        self.task: ModuleType = get_task(task)
        self.image_folder = Path(image_folder)
        self.batch_size = batch_size
        self.generation = greedy_config(adapter, max_new_tokens)

    def chunks(self, instances: Sequence[Instance]) -> list[Sequence[Instance]]:
        """The instances in fixed chunks for `prepare`, in the given order.

        A chunk holds one split only, so that a split's batches, and with them its rounding errors,
        are the same whatever else is run.
        """
        size = self.batch_size
        if self.task.KIND == "ranking" and instances:
            size = max(1, size // max(len(instance.candidates) for instance in instances))
        return _split(instances, size)

    def prompt_chunks(self, instances: Sequence[Instance]) -> list[Sequence[Instance]]:
        """The instances in fixed batches of one prompt each, in the given order."""
        return _split(instances, self.batch_size)

    def prepare(
        self, instances: Sequence[Instance], score_targets: bool = True
    ) -> PreparedGeneration | PreparedRanking:
        """Read the images and encode the prompts of one chunk.

        Without `score_targets` the generation tasks' log-probabilities, which cost a forward pass
        of their own, are left out.
        """
        with torch.inference_mode():
            if self.task.KIND == "ranking":
                return self._prepare_ranking(instances)
            batch = self.encode(instances)
            if not score_targets:
                return PreparedGeneration(instances, batch, None)
            targets = [self.target_ids(instance)[0] for instance in instances]
            return PreparedGeneration(instances, batch, force(self.adapter, batch, targets))

    def outcomes(self, prepared: PreparedGeneration | PreparedRanking) -> list[Outcome]:
        """Run a prepared chunk through the model as it is now, one outcome per instance.

        Raises FloatingPointError, naming the instances, if a logit is NaN or infinite.
        """
        try:
            with torch.inference_mode():
                if isinstance(prepared, PreparedRanking):
                    return self._rank(prepared)
                return self._generate(prepared)
        except FloatingPointError as error:
            names = ", ".join(instance.instance_id for instance in prepared.instances)
            raise FloatingPointError(f"{error} (in the batch of {names})") from error

    def text(self, instance: Instance, candidate: str | None = None) -> str:
        """The full prompt; for retrieval the candidate defaults to the positive one."""
        if self.task.KIND == "ranking" and candidate is None:
            candidate = instance.candidates[instance.positive_index]
        instruction = self.task.instruction(self.adapter.family, instance, candidate)
        return self.adapter.prompt(instruction)

    def encode(
        self, instances: Sequence[Instance], candidates: Sequence[str] | None = None
    ) -> Batch:
        """The prompts of the instances with their images (retrieval: the positive candidate)."""
        images = [open_image(self.image_folder, instance.image) for instance in instances]
        chosen = candidates or [None] * len(instances)
        texts = [self.text(*pair) for pair in zip(instances, chosen, strict=True)]
        return self.adapter.encode(images, texts)

    def target_ids(self, instance: Instance) -> list[list[int]]:
        """Token ids of each target text, in the context of the prompt (METHOD 3)."""
        prompt = self.text(instance)
        return [self.adapter.answer_ids(prompt, text) for text in self.task.targets(instance)]

    def _generate(self, prepared: PreparedGeneration) -> list[Outcome]:
        batch = prepared.batch
        tokens = self.adapter.model.generate(
            inputs_embeds=batch.embeddings,
            attention_mask=batch.attention_mask,
            generation_config=self.generation,
            logits_processor=LogitsProcessorList([_RefuseNonFinite(self.adapter)]),
        )
        decoded = self.adapter.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        texts = [text.strip() for text in decoded]
        target_logprob = first_logprob = torch.full((len(texts),), float("nan"))
        if prepared.forced is not None:
            target_logprob, first_logprob = forced_logprobs(self.adapter, prepared.forced)
        return [
            Outcome(
                instance.instance_id,
                text,
                self.task.utility(text, instance),
                self.task.statistics(text, instance),
                float(mean),
                float(first),
            )
            for instance, text, mean, first in zip(
                prepared.instances, texts, target_logprob, first_logprob, strict=True
            )
        ]

    def _prepare_ranking(self, instances: Sequence[Instance]) -> PreparedRanking:
        prompts = [
            self.adapter.tokenizer(self.text(instance, candidate))["input_ids"]
            for instance in instances
            for candidate in instance.candidates
        ]
        shared = _common_prefix(prompts)
        suffixes = [ids[shared:] for ids in prompts]
        if any(self.adapter.image_token in suffix for suffix in suffixes):
            raise ValueError(
                "a candidate text holds the image's placeholder, or the prompts differ before it; "
                f"the queries are {', '.join(instance.instance_id for instance in instances)}"
            )
        whole = self.encode(instances)  # with the positive candidate, whose suffix is cut off
        prefixes = []
        for row, instance in enumerate(instances):
            ids = self.adapter.tokenizer(self.text(instance))["input_ids"]
            start = int((whole.attention_mask[row] == 0).sum())
            prefixes.append((row, start, whole.input_ids.shape[1] - (len(ids) - shared)))
        words = (self.task.POSITIVE_WORD, self.task.NEGATIVE_WORD)
        yes, no = (self._first_id(instances[0], word) for word in words)
        if yes == no:
            raise ValueError(f"the answers {words} start with the same token in context")
        suffix_ids, mask = _pad_right(suffixes, self.adapter)
        counts = torch.tensor([len(instance.candidates) for instance in instances])
        owner = torch.arange(len(instances)).repeat_interleave(counts).to(self.adapter.device)
        return PreparedRanking(
            instances, _cut(whole, prefixes), owner, suffix_ids, mask.sum(-1), (yes, no)
        )

    def _first_id(self, instance: Instance, word: str) -> int:
        return self.adapter.answer_ids(self.text(instance), word)[0]

    def _rank(self, prepared: PreparedRanking) -> list[Outcome]:
        yes, no = prepared.yes_no
        logits = candidate_logits(self.adapter, prepared, self.batch_size)  # [N, V]
        margins = (logits[:, yes] - logits[:, no]).double().cpu()
        yes_logprobs = logits.log_softmax(-1)[:, yes].double().cpu()
        results = []
        for query, instance in enumerate(prepared.instances):
            rows = (prepared.owner == query).cpu()
            scores = margins[rows].tolist()
            positive_logprob = float(yes_logprobs[rows][instance.positive_index])
            best = max(range(len(scores)), key=scores.__getitem__)
            results.append(
                Outcome(
                    instance.instance_id,
                    instance.candidates[best],
                    self.task.utility(scores, instance),
                    self.task.statistics(scores, instance),
                    positive_logprob,
                    positive_logprob,
                )
            )
        return results


def greedy_config(adapter: Adapter, max_new_tokens: int) -> GenerationConfig:
    """Greedy decoding without any penalty (METHOD 2); end-of-sequence ids are the model's own."""
    pad = adapter.tokenizer.pad_token_id
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        repetition_penalty=1.0,
        eos_token_id=adapter.stop_ids,
        pad_token_id=adapter.stop_ids[0] if pad is None else pad,
    )


def force(adapter: Adapter, batch: Batch, targets: Sequence[Sequence[int]]) -> Forced:
    """Append targets (token ids) to the prompts of a left-padded batch."""
    target_ids, mask = _pad_right(targets, adapter)
    forced = Batch(
        torch.cat([batch.embeddings, adapter.embed(target_ids).to(batch.embeddings.dtype)], 1),
        torch.cat([batch.attention_mask, mask.to(batch.attention_mask.dtype)], 1),
        torch.cat([batch.input_ids, target_ids], 1),
        _continued(batch.positions, target_ids.shape[1]),
    )
    return Forced(forced, target_ids, mask)


def _continued(positions: Tensor, n: int) -> Tensor:
    return torch.cat([positions, following_positions(positions, n)], -1)


def forced_logits(adapter: Adapter, forced: Forced) -> Tensor:
    """Logits [B, A, V] (float32) that predict the forced targets' tokens."""
    length = forced.target_ids.shape[1]
    answering = torch.zeros_like(forced.batch.attention_mask, dtype=torch.bool)
    answering[:, -length - 1 :] = True
    hidden = adapter.hidden_states(forced.batch, answering)
    return adapter.logits(hidden[:, -length - 1 : -1])


def forced_logprobs(adapter: Adapter, forced: Forced) -> tuple[Tensor, Tensor]:
    """Mean log-probability of each row's target tokens [B], and of the first one [B]."""
    logprobs = forced_logits(adapter, forced).log_softmax(-1)
    tokens = logprobs.gather(-1, forced.target_ids[..., None]).squeeze(-1).double()
    mask = forced.target_mask
    return (tokens * mask).sum(-1) / mask.sum(-1), tokens[:, 0]


def candidate_logits(adapter: Adapter, prepared: PreparedRanking, rows_at_once: int) -> Tensor:
    """Logits [N, V] (float32) behind every candidate's prompt.

    The prefixes are run once, the suffixes behind their cache in blocks of `rows_at_once`.
    """
    cache = DynamicCache()
    nowhere = torch.zeros_like(prepared.prefix.attention_mask, dtype=torch.bool)
    adapter.hidden_states(prepared.prefix, nowhere, cache)  # an answer comes only after a suffix
    rows = torch.arange(len(prepared.owner), device=adapter.device)
    states = [_suffix_states(adapter, prepared, cache, block) for block in rows.split(rows_at_once)]
    return adapter.logits(torch.cat(states))


def _suffix_states(
    adapter: Adapter, prepared: PreparedRanking, prefix_cache: Cache, rows: Tensor
) -> Tensor:
    """Last hidden state [R, d] of the given candidates' prompts."""
    cache = copy.deepcopy(prefix_cache)
    cache.batch_select_indices(prepared.owner[rows])
    ids, lengths = prepared.suffix_ids[rows], prepared.lengths[rows]
    mask = _length_mask(lengths, ids.shape[1])
    prefix_mask = prepared.prefix.attention_mask[prepared.owner[rows]]
    batch = Batch(
        adapter.embed(ids),
        torch.cat([prefix_mask, mask.to(prefix_mask.dtype)], 1),
        ids,
        following_positions(prepared.prefix.positions[:, prepared.owner[rows]], ids.shape[1]),
    )
    last = torch.zeros_like(mask)
    last[torch.arange(len(rows), device=rows.device), lengths - 1] = True
    return adapter.hidden_states(batch, last, cache)[last]


class _RefuseNonFinite(LogitsProcessor):
    """Stops `generate` at NaN or infinite logits, of which it would take some token silently."""

    def __init__(self, adapter: Adapter):
        self.adapter = adapter

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.adapter.require_finite(scores)
        return scores


def _split(instances: Sequence[Instance], size: int) -> list[Sequence[Instance]]:
    chunks: list[Sequence[Instance]] = []
    for _, group in groupby(instances, key=attrgetter("split")):
        rows = list(group)
        chunks += [rows[start : start + size] for start in range(0, len(rows), size)]
    return chunks


def _length_mask(lengths: Tensor, width: int) -> Tensor:
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def _pad_right(rows: Sequence[Sequence[int]], adapter: Adapter) -> tuple[Tensor, Tensor]:
    """Token ids [B, A] padded with 0 on the right, and the mask of real tokens [B, A]."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([list(row) + [0] * (width - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids.to(adapter.device), _length_mask(lengths, width).to(adapter.device)


def _common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Length of the longest common prefix, leaving at least one token to every row."""
    first, last = min(rows), max(rows)  # the lexicographic extremes differ earliest
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return min(length, min(len(row) for row in rows) - 1)


def _cut(batch: Batch, spans: Sequence[tuple[int, int, int]]) -> Batch:
    """Rows of the batch cut to (row, start, stop), left-padded to a common width."""
    width = max(stop - start for _, start, stop in spans)

    def cut(values: Tensor) -> Tensor:
        out = values.new_zeros((len(spans), width, *values.shape[2:]))
        for index, (row, start, stop) in enumerate(spans):
            out[index, width - (stop - start) :] = values[row, start:stop]
        return out

    positions = torch.stack([cut(axis) for axis in batch.positions])
    parts = (batch.embeddings, batch.attention_mask, batch.input_ids)
    return Batch(*(cut(part) for part in parts), positions)
