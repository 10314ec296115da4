"""Run one task's instances through a model: encode once, then measure under any intervention.

`prepare` does what does not depend on the intervention; `outcomes_under` gives every instance's
outcome under every intervention, by the fast engine or the plain path. Both see the same prompts,
so that base and intervened results are paired (METHOD 13).
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from PIL import Image

from hones_core.benchmark.images import open_image
from hones_core.engine import fast, fast_rankings, plain
from hones_core.engine.at_once import Limits
from hones_core.engine.interventions import Change, Intervention, applied
from hones_core.engine.lengths import Lengths, common_prefix, measured
from hones_core.engine.memory import Part, run_parts, trace_parts
from hones_core.engine.overflow import located
from hones_core.engine.results import Answer, Ranked
from hones_core.models.adapter import Adapter, Batch
from hones_core.tasks import get_task
from hones_core.tasks.instances import Instance

Label = TypeVar("Label", bound=Hashable)

ENGINES = ("fast", "plain")
# Choices by less than this are made again the plain way: noise of another order of sums, with room.
CLOSE_MARGINS = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class Outcome:
    """What one instance gave: text (retrieval: best candidate), utility and log-probabilities.

    utility in [0, 1]; statistics as `tasks` sums them; target_logprob is the mean over the
    target's tokens, first_token_logprob that of the first, both teacher-forced, in nat; NaN where
    the chunk was prepared without targets. close_call: the fast engine's choice hung on less than
    the close margin and was made again the plain way.
    """

    instance_id: str
    prediction: str
    utility: float
    statistics: list[float]
    target_logprob: float
    first_token_logprob: float
    close_call: bool = False


@dataclass(frozen=True)
class Prepared:
    """A chunk of instances, ready to run.

    `parts` is None on the plain path; else the chunk as it was traced, in one part unless memory
    ran out. The parts may be divided further while the chunk is run.
    """

    instances: Sequence[Instance]
    score_targets: bool
    parts: list[Part[Instance]] | None


class Evaluator:
    """One task on one model.

    `batch_size` counts the rows of the language model; `image_folder` is where the task's images
    lie; `engine` is 'fast' or 'plain'; `close_margin` the logits by which a choice of the fast
    engine has to be made (None: by the model's type).
    """

    def __init__(
        self,
        adapter: Adapter,
        task: str,
        image_folder: str | Path,
        batch_size: int,
        max_new_tokens: int = 24,
        engine: str = "fast",
        limits: Limits | None = None,
        close_margin: float | None = None,
    ):
        if engine not in ENGINES:
            raise ValueError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")
        self.adapter = adapter
        self.task_name = task
        self.task: ModuleType = get_task(task)
        self.image_folder = Path(image_folder)
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.engine = engine
        self.limits = limits or Limits()
        self.close_margin = CLOSE_MARGINS[adapter.dtype] if close_margin is None else close_margin
        self.fitting: int | None = None  # samples that fit at once, known when memory has run out

    @property
    def generation(self) -> dict[str, Any] | None:
        """The effective generation config of the answers, as builtins; None where none is made."""
        if self.task.KIND == "ranking":
            return None
        return plain.greedy_settings(self.adapter, self.max_new_tokens)

    @property
    def decodes(self) -> bool:
        """Whether answers are generated, not candidates ranked."""
        return self.task.KIND != "ranking"

    def lengths(self, instances: Sequence[Instance]) -> Lengths:
        """The largest among some of the instances (see `lengths.measured`)."""
        return measured(self, instances)

    def chunks(self, instances: Sequence[Instance]) -> list[Sequence[Instance]]:
        """The instances in fixed chunks for `prepare`, in the given order.

        A chunk holds one split only, so that a split's batches, and with them its rounding errors,
        are the same whatever else is run.
        """
        size = self.batch_size
        if self.task.KIND == "ranking":
            size = max(1, size // self.limits.candidate_rows)
        return _split(instances, size)

    def prompt_chunks(self, instances: Sequence[Instance]) -> list[Sequence[Instance]]:
        """The instances in fixed batches of one prompt each, in the given order."""
        return _split(instances, self.batch_size)

    def prepare(self, instances: Sequence[Instance], score_targets: bool = True) -> Prepared:
        """Read the images and run what no intervention changes, for one chunk.

        Without `score_targets` the generation tasks' log-probabilities are left out.
        """
        if self.engine == "plain":
            return Prepared(instances, score_targets, None)
        with torch.inference_mode(), self.named(instances):
            trace = partial(self._trace, score_targets)
            return Prepared(instances, score_targets, trace_parts(self, instances, trace))

    def outcomes_under(
        self, prepared: Prepared, interventions: Mapping[Label, Intervention | None]
    ) -> dict[Label, list[Outcome]]:
        """One outcome per instance under every intervention (None: the unchanged model).

        When memory runs out, less is done at once (see `engine.memory`). Raises FloatingPointError,
        naming the instances, if a logit is NaN or infinite, and NotEnoughMemoryError for an
        instance that does not fit alone.
        """
        with torch.inference_mode(), self.named(prepared.instances):
            if prepared.parts is None:
                return {
                    label: self._plain_outcomes(prepared, intervention)
                    for label, intervention in interventions.items()
                }
            run = partial(self._part_outcomes, prepared, interventions)
            trace = partial(self._trace, prepared.score_targets)
            found = run_parts(self, prepared.parts, run, trace, len(interventions))
            return {
                label: [one for part in found for one in part[label]] for label in interventions
            }

    def named(self, instances: Sequence[Instance]) -> AbstractContextManager[None]:
        """Names instances and layer in an error about numbers that are not finite."""
        return located(self.adapter, instances, lambda instance: self.encode([instance]))

    def text(self, instance: Instance, candidate: str | None = None) -> str:
        """The full prompt; for retrieval the candidate defaults to the positive one."""
        shown = candidate or instance.positive_candidate
        instruction = self.task.instruction(self.adapter.family, instance, shown)
        return self.adapter.prompt(instruction)

    def encode(
        self, instances: Sequence[Instance], candidates: Sequence[str | None] | None = None
    ) -> Batch:
        """The prompts of the instances with their images (retrieval: the positive candidate)."""
        chosen: Sequence[str | None] = candidates or [None] * len(instances)
        texts = [self.text(*pair) for pair in zip(instances, chosen, strict=True)]
        return self.adapter.encode(self.images(instances), texts)

    def target_ids(self, instance: Instance) -> list[list[int]]:
        """Token ids of each target text, in the context of the prompt (METHOD 3)."""
        prompt = self.text(instance)
        return [self.adapter.answer_ids(prompt, text) for text in self.task.targets(instance)]

    def images(self, instances: Sequence[Instance]) -> list[Image.Image]:
        """The instances' images, opened."""
        return [open_image(self.image_folder, instance.image) for instance in instances]

    def _targets(self, instances: Sequence[Instance]) -> list[list[int]]:
        return [self.target_ids(instance)[0] for instance in instances]

    def _trace(
        self, score_targets: bool, instances: Sequence[Instance]
    ) -> fast.TracedAnswers | fast_rankings.TracedCandidates:
        if self.task.KIND == "ranking":
            return self._trace_candidates(instances)
        targets = self._targets(instances) if score_targets else None
        batch = self.encode(instances)
        return fast.trace_answers(self.adapter, batch, targets, self.max_new_tokens, self.limits)

    def _part_outcomes(
        self,
        prepared: Prepared,
        interventions: Mapping[Label, Intervention | None],
        part: Part[Instance],
    ) -> dict[Label, list[Outcome]]:
        found = self.fast_results(part.traced, interventions)
        return {
            label: [
                self.settled(instance, result, prepared, interventions[label])
                for instance, result in zip(part.samples, results, strict=True)
            ]
            for label, results in found.items()
        }

    def fast_results(
        self,
        traced: fast.TracedAnswers | fast_rankings.TracedCandidates,
        interventions: Mapping[Label, Intervention | None],
    ) -> dict[Label, list]:
        """What the fast engine finds for what was traced, before close calls are settled."""
        changes = {label: _changes(self.adapter, one) for label, one in interventions.items()}
        how = self.limits, self.close_margin
        if isinstance(traced, fast_rankings.TracedCandidates):
            return {**fast_rankings.rankings_under(self.adapter, traced, changes, *how)}
        return {**fast.answers_under(self.adapter, traced, changes, *how)}

    def settled(
        self,
        instance: Instance,
        result: Answer | Ranked,
        prepared: Prepared,
        intervention: Intervention | None,
    ) -> Outcome:
        """The outcome of one fast result; a close call is made again the plain way."""
        if not result.close:
            return self._outcome(instance, result)
        if isinstance(result, Ranked):
            again = self._outcome(instance, self.ranked_again(instance, result, intervention))
        else:
            alone = replace(prepared, instances=[instance])
            again = self._plain_outcomes(alone, intervention)[0]
        return replace(again, close_call=True)

    def ranked_again(
        self, instance: Instance, result: Ranked, intervention: Intervention | None
    ) -> Ranked:
        """A ranking with the margins of the positive and the doubtful candidates, and of those that
        read like them, made again the plain way. The others' places do not hang on them."""
        query = self._query(instance)
        doubtful = {query.texts[index] for index in (query.positive, *result.doubtful)}
        chosen = [index for index, text in enumerate(query.texts) if text in doubtful]
        texts = [query.texts[index] for index in chosen]
        few = replace(query, texts=texts, positive=chosen.index(query.positive))
        with applied(self.adapter, intervention) if intervention else nullcontext():
            found = plain.ranked(self.adapter, few, self.batch_size)
        margins = list(result.margins)
        for index, margin in zip(chosen, found.margins, strict=True):
            margins[index] = margin
        return Ranked(margins, found.positive_logprob, result.doubtful)

    def _plain_outcomes(
        self, prepared: Prepared, intervention: Intervention | None
    ) -> list[Outcome]:
        instances = prepared.instances
        with applied(self.adapter, intervention) if intervention else nullcontext():
            results: Sequence[Answer | Ranked]
            if self.task.KIND == "ranking":
                results = [
                    plain.ranked(self.adapter, self._query(instance), self.batch_size)
                    for instance in instances
                ]
            else:
                targets = self._targets(instances) if prepared.score_targets else None
                texts = [self.text(instance) for instance in instances]
                prompts = plain.Prompts(self.images(instances), texts, targets)
                results = plain.answers(self.adapter, prompts, self.max_new_tokens)
        return [self._outcome(*pair) for pair in zip(instances, results, strict=True)]

    def _outcome(self, instance: Instance, result: Answer | Ranked) -> Outcome:
        """Score a result as the task does."""
        if isinstance(result, Ranked):
            found, logprobs = result.margins, (result.positive_logprob, result.positive_logprob)
            best = max(range(len(found)), key=found.__getitem__)
            prediction = instance.candidates[best]
        else:
            decoded = self.adapter.tokenizer.decode(result.tokens, skip_special_tokens=True)
            found = prediction = decoded.strip()
            logprobs = (result.target_logprob, result.first_logprob)
        return Outcome(
            instance.instance_id,
            prediction,
            self.task.utility(found, instance),
            self.task.statistics(found, instance),
            *logprobs,
        )

    def _query(self, instance: Instance) -> plain.Query:
        texts = [self.text(instance, candidate) for candidate in instance.candidates]
        image = self.images([instance])[0]
        return plain.Query(image, texts, instance.positive_index, self._yes_no(instance))

    def _yes_no(self, instance: Instance) -> tuple[int, int]:
        words = (self.task.POSITIVE_WORD, self.task.NEGATIVE_WORD)
        yes, no = (self.adapter.answer_ids(self.text(instance), word)[0] for word in words)
        if yes == no:
            raise ValueError(f"the answers {words} start with the same token in context")
        return yes, no

    def _trace_candidates(self, instances: Sequence[Instance]) -> fast_rankings.TracedCandidates:
        """The queries' prompts, cut where their own candidates begin to differ."""
        whole = self.encode(instances)  # with the positive candidate, which is cut off
        suffixes, spans = [], []
        for row, instance in enumerate(instances):
            texts = [self.text(instance, candidate) for candidate in instance.candidates]
            prompts = [self.adapter.tokenizer(text)["input_ids"] for text in texts]
            shared = common_prefix(prompts)
            own = [ids[shared:] for ids in prompts]
            if any(self.adapter.image_token in suffix for suffix in own):
                raise ValueError(
                    f"instance {instance.instance_id!r}: a candidate holds the image's "
                    "placeholder, or the prompts differ before it"
                )
            start = int((whole.attention_mask[row] == 0).sum())
            stop = whole.input_ids.shape[1] - len(own[instance.positive_index])
            suffixes.append(own)
            spans.append((row, start, stop))
        return fast_rankings.trace_candidates(
            self.adapter,
            cut_batch(whole, spans),
            suffixes,
            [instance.positive_index for instance in instances],
            self._yes_no(instances[0]),
            self.limits,
        )


def _changes(adapter: Adapter, intervention: Intervention | None) -> list[Change]:
    return [] if intervention is None else list(intervention.changes(adapter))


def _split(instances: Sequence[Instance], size: int) -> list[Sequence[Instance]]:
    chunks: list[Sequence[Instance]] = []
    for _, group in groupby(instances, key=attrgetter("split")):
        rows = list(group)
        chunks += [rows[start : start + size] for start in range(0, len(rows), size)]
    return chunks


def cut_batch(batch: Batch, spans: Sequence[tuple[int, int, int]]) -> Batch:
    """Rows of the batch cut to (row, start, stop), left-padded to a common width."""
    width = max(stop - start for _, start, stop in spans)

    def cut(values: torch.Tensor) -> torch.Tensor:
        out = values.new_zeros((len(spans), width, *values.shape[2:]))
        for index, (row, start, stop) in enumerate(spans):
            out[index, width - (stop - start) :] = values[row, start:stop]
        return out

    positions = torch.stack([cut(axis) for axis in batch.positions])
    return Batch(cut(batch.embeddings), cut(batch.attention_mask), cut(batch.input_ids), positions)
