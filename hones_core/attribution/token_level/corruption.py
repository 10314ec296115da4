"""Corrupted runs for patching: another image, a noisy one, or none in particular (METHOD 6)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hones_core.benchmark.seeding import seeded_key
from hones_core.engine.evaluate import Evaluator
from hones_core.models.adapter import Batch
from hones_core.tasks.instances import Instance

CORRUPTIONS = ("image_swap", "gaussian", "mean")


@dataclass(frozen=True)
class Corruption:
    """How the images of the corrupted run differ from those of the clean one.

    'image_swap': each instance is asked about the image of the next instance that has another one;
    'gaussian': noise is added to the image's embeddings, `noise_multiple` times their standard
    deviation in the sample, seeded by sample; 'mean': each of them is replaced by the mean
    embedding of all image tokens of all instances.
    """

    kind: str = "image_swap"
    noise_multiple: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in CORRUPTIONS:
            raise ValueError(f"unknown corruption {self.kind!r}; known: {', '.join(CORRUPTIONS)}")


class Corrupter:
    """Makes the corrupted batches of a sample of instances.

    Raises ValueError if images are to be swapped but all instances have the same one.
    """

    def __init__(self, evaluator: Evaluator, instances: Sequence[Instance], corruption: Corruption):
        self.evaluator = evaluator
        self.corruption = corruption
        self.swapped: dict[str, Instance] = {}
        self.mean: Tensor | None = None
        if corruption.kind == "image_swap":
            self.swapped = swapped_images(instances)
        elif corruption.kind == "mean":
            self.mean = mean_image_embedding(evaluator, instances)

    def batch(self, instances: Sequence[Instance], clean: Batch) -> Batch:
        """The corrupted counterpart of the instances' clean batch."""
        if self.corruption.kind == "image_swap":
            return self.evaluator.encode([self.swapped[i.instance_id] for i in instances])
        is_image = clean.input_ids == self.evaluator.adapter.image_token
        if self.mean is not None:
            corrupted = self.mean.to(clean.embeddings.dtype).expand_as(clean.embeddings)
        else:
            corrupted = self._noisy(instances, clean.embeddings, is_image)
        return replace(
            clean, embeddings=torch.where(is_image[..., None], corrupted, clean.embeddings)
        )

    def _noisy(self, instances: Sequence[Instance], embeddings: Tensor, is_image: Tensor) -> Tensor:
        noisy = embeddings.clone()
        for row, instance in enumerate(instances):
            own = embeddings[row, is_image[row]].float()
            key = seeded_key(self.corruption.seed, "image noise", instance.instance_id)
            noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(key))
            scale = self.corruption.noise_multiple * own.std(correction=0)
            noisy[row, is_image[row]] = (own + scale * noise.to(own.device)).to(noisy.dtype)
        return noisy


def swapped_images(instances: Sequence[Instance]) -> dict[str, Instance]:
    """{instance id: the instance with the image of the next one that has another image}."""
    swapped = {}
    for place, instance in enumerate(instances):
        others = [*instances[place + 1 :], *instances[:place]]
        other = next((other for other in others if other.image != instance.image), None)
        if other is None:
            raise ValueError("image_swap needs instances with at least two different images")
        swapped[instance.instance_id] = replace(instance, image=other.image)
    return swapped


def mean_image_embedding(evaluator: Evaluator, instances: Sequence[Instance]) -> Tensor:
    """Mean embedding [d] over the image tokens of all instances."""
    total: Any = 0.0  # a tensor from the first chunk on
    count = 0
    for chunk in evaluator.prompt_chunks(instances):
        batch = evaluator.encode(chunk)
        embeddings = batch.embeddings[batch.input_ids == evaluator.adapter.image_token]
        total = total + embeddings.double().sum(0)
        count += len(embeddings)
    return (total / count).float()
