"""Tasks that ask about the same image, measured in one pass.

Most of a prompt is the image. Tasks that show the same one share its columns: behind them each
task's question, draft and target are a branch of their own. OCR, which shows another image, cannot
take part, and retrieval has its own way of sharing.
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from hones_core.engine import fast
from hones_core.engine.at_once import Limits
from hones_core.engine.evaluate import Evaluator, Outcome, Prepared, cut_batch
from hones_core.engine.fast import Question
from hones_core.engine.interventions import Intervention
from hones_core.engine.lengths import Lengths, common_prefix, measured_together
from hones_core.engine.memory import Part, run_parts, trace_parts
from hones_core.engine.overflow import located
from hones_core.models.adapter import Batch
from hones_core.tasks.instances import Instance

Label = TypeVar("Label", bound=Hashable)
Image = list[Instance]  # the instances that are asked about it


@dataclass(frozen=True)
class PreparedTogether:
    """A chunk of instances, those of an image together, as it was traced: as `Prepared`."""

    instances: list[Instance]
    score_targets: bool
    parts: list[Part[Image]]


class JointEvaluator:
    """Evaluators of several generation tasks on the same model and the same image folder.

    Raises ValueError if they are not that, or do not use the fast engine.
    """

    def __init__(self, evaluators: Sequence[Evaluator]):
        first = evaluators[0]
        for one in evaluators:
            if one.task.KIND == "ranking":
                raise ValueError(f"{one.task_name} cannot be measured jointly with other tasks")
            if one.engine != "fast":
                raise ValueError("the plain path measures no tasks jointly; measure them apart")
            if (one.adapter, one.image_folder) != (first.adapter, first.image_folder):
                raise ValueError("joint tasks need one model and one image folder")
        self.evaluators = {one.task_name: one for one in evaluators}
        self.adapter = first.adapter
        self.task_name = "+".join(self.evaluators)
        self.batch_size = first.batch_size
        self.generation = first.generation
        self.decodes = True
        self.fitting: int | None = None  # images that fit at once, as of an Evaluator

    @property
    def limits(self) -> Limits:
        """Of all the evaluators."""
        return self._first.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        for one in self.evaluators.values():
            one.limits = limits

    def lengths(self, instances: Sequence[Instance]) -> Lengths:
        """The largest among some of the images, each with all its questions in one row."""
        return measured_together(self.evaluators, _by_image(instances))

    def chunks(self, instances: Sequence[Instance]) -> list[list[Instance]]:
        """The tasks' instances in chunks of `batch_size` images, those of an image together.

        Images come in the order in which they are first shown.
        """
        images, size = _by_image(instances), self.batch_size
        return [_questions(images[start : start + size]) for start in range(0, len(images), size)]

    def prepare(
        self, instances: Sequence[Instance], score_targets: bool = True
    ) -> PreparedTogether:
        """Run what no intervention changes for one chunk."""
        images = _by_image(instances)
        instances = _questions(images)
        with torch.inference_mode(), self._named(instances):
            parts = trace_parts(self, images, partial(self._trace, score_targets))
        return PreparedTogether(instances, score_targets, parts)

    def outcomes_under(
        self, prepared: PreparedTogether, interventions: Mapping[Label, Intervention | None]
    ) -> dict[Label, list[Outcome]]:
        """One outcome per question, in the order of `prepared.instances`, as an Evaluator's.

        When memory runs out, less is done at once, images being what is halved last; an image whose
        questions do not fit alone is a NotEnoughMemoryError.
        """
        with torch.inference_mode(), self._named(prepared.instances):
            run = partial(self._part_outcomes, prepared, interventions)
            trace = partial(self._trace, prepared.score_targets)
            found = run_parts(self, prepared.parts, run, trace, len(interventions))
            return {
                label: [one for part in found for one in part[label]] for label in interventions
            }

    @property
    def _first(self) -> Evaluator:
        return next(iter(self.evaluators.values()))

    def _trace(self, score_targets: bool, images: Sequence[Image]) -> fast.TracedAnswers:
        instances = _questions(images)
        drafts, targets = self._drafts_and_targets(instances)
        prefix, rests = self._prefix(images)
        rows = [row for row, image in enumerate(images) for _ in image]
        questions = [
            Question(row, rest, drafts[one.instance_id])
            for row, one, rest in zip(rows, instances, rests, strict=True)
        ]
        return fast.trace_questions(
            self.adapter,
            prefix,
            questions,
            [targets[one.instance_id] for one in instances] if score_targets else None,
            self._first.max_new_tokens,
        )

    def _part_outcomes(
        self,
        prepared: PreparedTogether,
        interventions: Mapping[Label, Intervention | None],
        part: Part[Image],
    ) -> dict[Label, list[Outcome]]:
        instances = _questions(part.samples)
        chunk = Prepared(instances, prepared.score_targets, None)
        found = self._first.fast_results(part.traced, interventions)
        return {
            label: [
                self.evaluators[one.task].settled(one, result, chunk, interventions[label])
                for one, result in zip(instances, results, strict=True)
            ]
            for label, results in found.items()
        }

    def _named(self, instances: Sequence[Instance]) -> AbstractContextManager[None]:
        return located(self.adapter, instances, lambda one: self.evaluators[one.task].encode([one]))

    def _drafts_and_targets(
        self, instances: Sequence[Instance]
    ) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        drafts: dict[str, list[int]] = {}
        targets: dict[str, list[int]] = {}
        for task, evaluator in self.evaluators.items():
            own = [one for one in instances if one.task == task]
            if not own:
                continue
            batch = evaluator.encode(own)
            answers = fast.base_answers(self.adapter, batch, evaluator.max_new_tokens, self.limits)
            for one, answer in zip(own, answers, strict=True):
                drafts[one.instance_id] = answer
                targets[one.instance_id] = evaluator.target_ids(one)[0]
        return drafts, targets

    def _prefix(self, images: Sequence[Image]) -> tuple[Batch, list[list[int]]]:
        """The beginnings that the prompts of an image share, and the rest of each prompt."""
        encoded, spans, rests = [], [], []
        for row, image in enumerate(images):
            texts = [self.evaluators[one.task].text(one) for one in image]
            prompts = [self.adapter.tokenizer(text)["input_ids"] for text in texts]
            shared = common_prefix(prompts)
            own = [ids[shared:] for ids in prompts]
            if any(self.adapter.image_token in rest for rest in own):
                raise ValueError(
                    f"instance {image[0].instance_id!r}: its prompts differ before the image"
                )
            encoded.append((image[0], texts[0]))
            spans.append((row, len(own[0])))
            rests += own
        whole = self.adapter.encode(
            self._first.images([one for one, _ in encoded]), [text for _, text in encoded]
        )
        width = whole.input_ids.shape[1]
        starts = (whole.attention_mask == 0).sum(-1).tolist()
        cuts = [(row, starts[row], width - cut) for row, cut in spans]
        return cut_batch(whole, cuts), rests


def _questions(images: Sequence[Image]) -> list[Instance]:
    return [one for image in images for one in image]


def _by_image(instances: Sequence[Instance]) -> list[Image]:
    by_image: dict[str, Image] = {}
    for instance in instances:
        by_image.setdefault(instance.image, []).append(instance)
    return list(by_image.values())
