"""Sections of the configuration: what is done with the neurons that are found."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from hones_core.settings.section import (
    NotNegative,
    Positive,
    Section,
    Seed,
    Share,
    SplitName,
    TaskName,
    unique,
)


class Masking(Section):
    """Silencing neurons (METHOD 7)."""

    top_ratio: Share = Field(description="share of all neurons in a task's set")
    ratios: tuple[Share, ...] = Field(
        min_length=1, description="shares along which the drop is followed"
    )
    shards: Positive = Field(description="jobs that share the samples of a task")
    bootstrap_resamples: Positive = Field(description="resamples of every interval")

    @field_validator("ratios")
    @classmethod
    def _ratios_are_unique(cls, ratios: tuple[float, ...]) -> tuple[float, ...]:
        return unique(ratios)


class Groups(Section):
    """Overlap groups (METHOD 8)."""

    random_trials: Positive = Field(description="random sets per group")
    random_control: Literal["uniform", "layer_matched"] = Field(
        description="where random sets are drawn from"
    )
    select_on: SplitName = Field(description="split that chooses the dominant group")
    selectivity_trials: NotNegative = Field(
        description="random sets beside each set of the selectivity matrix"
    )
    ood_sets: tuple[Literal["gqa", "textvqa", "flickr30k_caption", "flickr30k_retrieval"], ...] = (
        Field(description="out-of-distribution sets on which the groups are masked; []: none")
    )

    @field_validator("ood_sets")
    @classmethod
    def _sets_are_unique(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return unique(names)


class LogitLens(Section):
    """Logits that a layer loses under masking (METHOD 9)."""

    norm: Literal["none", "own", "frozen"] = Field(
        description="final norm before the unembedding: left out, with the output's own variance, "
        "or with that of the unchanged run's final residual"
    )
    samples: dict[TaskName, tuple[str, ...]] | None = Field(
        description="test instances of the figure by task; a task that is left out: chosen"
    )
    samples_per_task: Positive = Field(description="instances that are chosen for the figure")


class Steering(Section):
    """Learning scales (METHOD 10)."""

    bank: Literal["dominant_group", "specific_group", "top_set"] = Field(
        description="neurons that are steered: the task's dominant group, those that no other "
        "task shares, or its whole top set"
    )
    bank_sizes: tuple[Positive | None, ...] = Field(
        min_length=1, description="most neurons in the bank, tried on development; null: all"
    )
    bank_without_shared_group: Literal["refuse", "specific_group"] = Field(
        description="the bank of a task that shares no neuron with another task"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(description="AdamW's first rate")
    epochs: Positive = Field(description="passes over the development instances")
    batch_size: Positive = Field(description="prompts per optimiser step")
    kl_weights: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        min_length=1, description="beta, weights of the KL term, tried on development"
    )
    l2_weight: Annotated[float, Field(ge=0)] = Field(description="weight of the squared scales")
    clip_norm: Annotated[float, Field(gt=0)] = Field(description="gradient norm limit")
    max_abs_scale: Annotated[float, Field(gt=0)] = Field(description="scales stay within ± this")
    allow_sign_flip: bool = Field(description="whether 1 + s may become negative")
    negatives_per_query: Positive = Field(description="No examples per retrieval query")
    fixed_amplification: Annotated[float, Field(gt=0)] = Field(
        description="factor of the Fixed-Amp baseline"
    )
    grid_factors: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        min_length=1, description="factors that Grid-Search tries on development"
    )
    random_seeds: Positive = Field(description="random banks of RandNeuron")
    quick: bool = Field(description="a few optimiser steps only, for tests")

    @field_validator("bank_sizes", "kl_weights", "grid_factors")
    @classmethod
    def _candidates_are_unique(cls, values: tuple) -> tuple:
        return unique(values)


class PlantedCircuits(Section):
    """Models whose circuits are known, on which every ranker is checked."""

    seed: Seed = Field(description="seed of the images, of all places and random weights")
    n_images: Positive = Field(description="images, each with one instance of every task")
    head_samples: Positive = Field(description="instances of head localization")
    strengths: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        min_length=1, description="write-outs of the distractors, times a planted neuron's"
    )

    @model_validator(mode="after")
    def _strengths_hold_the_table_s(self) -> "PlantedCircuits":
        if 1.0 not in self.strengths:
            raise ValueError("strengths must hold 1, that of the table planted_recovery")
        return self


class Report(Section):
    """The HTML page."""

    samples: Positive = Field(description="samples a model and task that can be looked at")
    card_samples: Positive = Field(
        description="discovery instances of each task that a neuron's page looks through"
    )
