"""Sections of the configuration: models, and how heads and neurons are measured."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from hones_core.family_catalogue import FAMILIES
from hones_core.ranker_catalogue import CATALOGUE, can_be_drawn
from hones_core.settings.section import (
    FamilyName,
    FilePath,
    Positive,
    RankerName,
    Samples,
    Section,
    Share,
    unique,
)


class Model(Section):
    """One model to analyse."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="its folder in results")
    path: FilePath = Field(description="local folder, or hub id")
    revision: str | None = Field(description="commit of the hub id; null for a local folder")
    family: FamilyName = Field(description="which adapter reads it")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(description="type of its weights")
    device: str = Field(
        description="auto, cpu, cuda, cuda:1 ..., or split: layers divided among all GPUs"
    )
    batch_size: Positive | None = Field(
        description="prompts per forward pass; null: as memory allows"
    )
    top_heads: Positive = Field(description="K_h: heads that condition the neuron scores")
    compare_with: Literal["llava-1.5-7b", "llava-1.5-13b", "qwen2.5-vl-7b"] | None = Field(
        description="the paper's model shown beside it in tables"
    )
    rankers: tuple[str, ...] | None = Field(
        default=None,
        description="those of neurons.rankers that are compared on this model; null: all",
    )
    min_pixels: Positive | None = Field(
        default=None,
        description="qwen*: smaller images are enlarged to it; null: the checkpoint's bound",
    )
    max_pixels: Positive | None = Field(
        default=None,
        description="qwen*: larger images are shrunk to it; null: the checkpoint's bound",
    )

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|split|cuda(:\d+)?", device):
            raise ValueError("a device is auto, cpu, cuda, cuda:1 ..., or split")
        return device

    @field_validator("rankers")
    @classmethod
    def _rankers_are_known(cls, rankers: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in rankers or ():
            if name not in CATALOGUE:
                raise ValueError(f"unknown ranker {name!r}; known: {', '.join(CATALOGUE)}")
        return rankers

    @model_validator(mode="after")
    def _bounds_of_images_fit(self) -> "Model":
        least, most = self.min_pixels, self.max_pixels
        if not FAMILIES[self.family].any_resolution and (least, most) != (None, None):
            raise ValueError(
                f"{self.family} has images of one size or crops of that size: leave min_pixels and "
                "max_pixels out"
            )
        if least is not None and most is not None and least > most:
            raise ValueError("min_pixels is larger than max_pixels")
        return self


class Decoding(Section):
    """Greedy decoding (METHOD 2)."""

    max_new_tokens: Positive = Field(description="longest answer, in tokens")


class Engine(Section):
    """How interventions are run; no result depends on it but for rounding."""

    path: Literal["fast", "plain"] = Field(
        description="fast: the exact engine; plain: stock generate and forward with hooks"
    )
    interventions_at_once: Positive | None = Field(
        description="interventions that share a pass; null: as memory allows"
    )
    decode_rows: Positive | None = Field(
        description="rows that are decoded together; null: as memory allows"
    )
    candidate_rows: Positive = Field(description="rows that share a query's candidates")
    close_margin: Annotated[float, Field(ge=0)] | None = Field(
        description="logits; closer choices are made again the plain way; null: by dtype"
    )


class HeadScreening(Section):
    """Leaving heads out of later samples that can't be among the best."""

    rule: Literal["successive_elimination"] = Field(description="how heads are left out")
    z: Annotated[float, Field(gt=0)] = Field(description="standard errors of the bounds")
    min_samples: Positive = Field(
        default=32, description="samples before which no head is left out"
    )


class Heads(Section):
    """Head localization (METHOD 4)."""

    samples: Samples = Field(description="discovery instances per task")
    positions: Literal["all", "last"] = Field(description="where a head is mean-replaced")
    utility: Literal["task_metric", "target_logprob", "first_token_prob"] = Field(
        description="the utility whose loss scores a head"
    )
    shards: Positive = Field(description="jobs that share the samples of a task")
    joint_tasks: tuple[Literal["vqa", "caption"], ...] = Field(
        description="tasks that ask about the same images, measured in one pass"
    )
    screening: HeadScreening | None = Field(
        description="heads left out of later samples; null: all heads on all samples"
    )
    budgets: tuple[Positive, ...] = Field(
        min_length=1, description="numbers of top heads that are mean-replaced together"
    )

    @field_validator("budgets")
    @classmethod
    def _budgets_are_unique(cls, budgets: tuple[int, ...]) -> tuple[int, ...]:
        return unique(budgets)

    @model_validator(mode="after")
    def _screening_sees_all_samples(self) -> "Heads":
        if len(set(self.joint_tasks)) not in (0, 2) or (self.joint_tasks and self.screening):
            raise ValueError("joint_tasks is empty or [vqa, caption], without screening")
        if self.screening is not None and self.shards > 1:
            raise ValueError("screening compares the heads on all samples: set shards to 1")
        return self


class GroupPatching(Section):
    """Patching groups of neurons (METHOD 6)."""

    groups_per_layer: Positive = Field(description="contiguous groups of a layer's neurons")
    corruption: Literal["image_swap", "gaussian", "mean"] = Field(
        description="what the corrupted run sees in the image's place"
    )
    noise_multiple: Annotated[float, Field(gt=0)] = Field(
        description="gaussian: noise over the image embeddings' own standard deviation"
    )


class Qrnca(Section):
    """Integrated gradients (METHOD 6)."""

    steps: Positive = Field(description="points of the integral")
    threshold: Share = Field(description="of the largest attribution, to stand out in a query")
    max_query_share: Share = Field(description="neurons in more of the queries are dropped")


class LlmKnowledge(Section):
    """Log-probability that a neuron adds (METHOD 6)."""

    variance: Literal["layer", "final"] = Field(
        description="frozen variance of the final norm: that of the layer, or of the final residual"
    )


class Neurons(Section):
    """Neuron scores and rankers (METHOD 5, 6)."""

    samples: Samples = Field(description="discovery instances per task")
    clip: Literal["per_sample", "after_mean"] = Field(description="when drops are clipped at 0")
    idf_tokens: Literal["all", "unique"] = Field(description="how repeated caption tokens count")
    aggregate: Literal["mean", "last"] = Field(description="positions of the activation rankers")
    activation: Literal["z", "gate"] = Field(description="what the activation rankers look at")
    activation_threshold: float = Field(description="a neuron is active above it (AP, APE)")
    ma_absolute: bool = Field(description="whether MA takes absolute values")
    shards: Positive = Field(description="jobs that share the heads of a task")
    rankers: tuple[RankerName, ...] = Field(
        min_length=1, description="rankers to compare; each runs on the tasks it applies to"
    )
    random_seeds: Positive = Field(description="number of seeds of RandNeuron")
    random_head_seeds: Positive = Field(description="number of seeds of HONES-RandHead")
    token_level_samples: Positive | None = Field(
        description="discovery instances of DLA, Group Patching, QRNCA and LLM-Knowledge; "
        "null: those of samples"
    )
    group_patching: GroupPatching = Field(description="options of group_patching")
    qrnca: Qrnca = Field(description="options of qrnca")
    llm_knowledge: LlmKnowledge = Field(description="options of llm_knowledge")

    @field_validator("rankers")
    @classmethod
    def _rankers_are_unique(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return unique(names)

    @property
    def seeds_of(self) -> dict[str, int]:
        """How many seeds, and so orders of the neurons, each random ranker has."""
        return {"random": self.random_seeds, "rand_head": self.random_head_seeds}


class Efficiency(Section):
    """Cost of localization (METHOD 12)."""

    trials: Positive = Field(description="samples of examples, each timed by itself")
    samples: int = Field(ge=2, strict=True, description="examples of a trial")


class Stability(Section):
    """Whether a ranker finds the same neurons from other samples."""

    rankers: tuple[str, ...] = Field(
        description="rankers whose order depends on the task's samples alone"
    )
    parts: Annotated[int, Field(ge=2, multiple_of=2, strict=True)] = Field(
        description="parts of the samples, each measured once; halves are made of them"
    )
    draws: Positive = Field(description="random halves")

    @model_validator(mode="after")
    def _rankers_can_be_drawn(self) -> "Stability":
        for name in self.rankers:
            if name not in CATALOGUE or not can_be_drawn(name):
                known = ", ".join(name for name in CATALOGUE if can_be_drawn(name))
                raise ValueError(f"stability of {name!r} is not defined; known: {known}")
        return self
