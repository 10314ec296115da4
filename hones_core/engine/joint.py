"""Tasks that ask about the same image, measured in one pass.

Most of a prompt is the image. Tasks that show the same one share its columns: behind them each
task's question, draft and target are a branch of their own. OCR, which shows another image, cannot
take part, and retrieval has its own way of sharing.
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch

from hones_core.engine import fast
from hones_core.engine.evaluate import (
    Evaluator,
    Outcome,
    Prepared,
    cut_batch,
)
from hones_core.engine.fast import Question
from hones_core.engine.interventions import Intervention
from hones_core.engine.lengths import common_prefix
from hones_core.engine.overflow import located
from hones_core.models.adapter import Batch
from hones_core.tasks.instances import Instance

Label = TypeVar("Label", bound=Hashable)


@dataclass(frozen=True)
class PreparedTogether:
    """A chunk of instances, those of an image together."""

    instances: list[Instance]
    score_targets: bool
    traced: fast.TracedAnswers


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

    def chunks(self, instances: Sequence[Instance]) -> list[list[Instance]]:
        """The tasks' instances in chunks of `batch_size` images, those of an image together.

        Images come in the order in which they are first shown.
        """
        images, size = _by_image(instances), self.batch_size
        return [
            [one for group in images[start : start + size] for one in group]
            for start in range(0, len(images), size)
        ]

    def prepare(
        self, instances: Sequence[Instance], score_targets: bool = True
    ) -> PreparedTogether:
        """Run what no intervention changes for one chunk."""
        images = _by_image(instances)
        rows = [(row, one) for row, group in enumerate(images) for one in group]
        instances = [one for _, one in rows]
        with torch.inference_mode(), self._named(instances):
            drafts, targets = self._drafts_and_targets(instances)
            prefix, rests = self._prefix(images)
            questions = [
                Question(row, rest, drafts[one.instance_id])
                for (row, one), rest in zip(rows, rests, strict=True)
            ]
            traced = fast.trace_questions(
                self.adapter,
                prefix,
                questions,
                [targets[one.instance_id] for one in instances] if score_targets else None,
                next(iter(self.evaluators.values())).max_new_tokens,
            )
        return PreparedTogether(instances, score_targets, traced)

    def outcomes_under(
        self, prepared: PreparedTogether, interventions: Mapping[Label, Intervention | None]
    ) -> dict[Label, list[Outcome]]:
        """One outcome per question, in the order of `prepared.instances`, as an Evaluator's."""
        with torch.inference_mode(), self._named(prepared.instances):
            first = next(iter(self.evaluators.values()))
            chunk = Prepared(prepared.instances, prepared.score_targets, None)
            found = first.fast_results(prepared.traced, interventions)
            return {
                label: [
                    self.evaluators[one.task].settled(one, result, chunk, interventions[label])
                    for one, result in zip(prepared.instances, results, strict=True)
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
            answers = fast.base_answers(
                self.adapter, batch, evaluator.max_new_tokens, evaluator.limits
            )
            for one, answer in zip(own, answers, strict=True):
                drafts[one.instance_id] = answer
                targets[one.instance_id] = evaluator.target_ids(one)[0]
        return drafts, targets

    def _prefix(self, images: Sequence[Sequence[Instance]]) -> tuple[Batch, list[list[int]]]:
        """The beginnings that the prompts of an image share, and the rest of each prompt."""
        encoded, spans, rests = [], [], []
        for row, group in enumerate(images):
            texts = [self.evaluators[one.task].text(one) for one in group]
            prompts = [self.adapter.tokenizer(text)["input_ids"] for text in texts]
            shared = common_prefix(prompts)
            own = [ids[shared:] for ids in prompts]
            if any(self.adapter.image_token in rest for rest in own):
                raise ValueError(
                    f"instance {group[0].instance_id!r}: its prompts differ before the image"
                )
            encoded.append((group[0], texts[0]))
            spans.append((row, len(own[0])))
            rests += own
        evaluator = next(iter(self.evaluators.values()))
        whole = self.adapter.encode(
            evaluator.images([one for one, _ in encoded]), [text for _, text in encoded]
        )
        width = whole.input_ids.shape[1]
        starts = (whole.attention_mask == 0).sum(-1).tolist()
        cuts = [(row, starts[row], width - cut) for row, cut in spans]
        return cut_batch(whole, cuts), rests


def _by_image(instances: Sequence[Instance]) -> list[list[Instance]]:
    by_image: dict[str, list[Instance]] = {}
    for instance in instances:
        by_image.setdefault(instance.image, []).append(instance)
    return list(by_image.values())
