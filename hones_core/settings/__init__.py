"""The configuration: every value that a user may change, checked before anything runs.

`config.yaml` holds the toy run's values with a comment at every key; `configs/paper.yaml` is an
overlay with the real models and data. `docs/config.schema.json` is generated from these models.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from hones_core.config_checks import contradictions, repeated_keys
from hones_core.settings.data import Benchmark, Data, Download, OutOfDistribution
from hones_core.settings.evaluation import (
    Groups,
    LogitLens,
    Masking,
    PlantedCircuits,
    Report,
    Steering,
)
from hones_core.settings.measurement import (
    Decoding,
    Efficiency,
    Engine,
    Heads,
    Model,
    Neurons,
    Stability,
)
from hones_core.settings.problems import explained
from hones_core.settings.section import Section, Seed, TaskName, plain

__all__ = ["Model", "Settings", "SettingsError", "json_schema", "load_settings", "plain"]


class SettingsError(Exception):
    """A configuration that cannot be run, with the key at fault and what to do."""


class Settings(Section):
    """The whole configuration."""

    run_name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder under results/"
    )
    seed: Seed = Field(description="seed of steering and random controls")
    data: Data
    benchmark: Benchmark
    ood: OutOfDistribution
    download: Download
    tasks: tuple[TaskName, ...] = Field(min_length=1, description="tasks to run, in table order")
    jobs: Literal["per_model", "per_task"] = Field(
        description="whether a step's job takes all tasks of a model in turn, or one"
    )
    models: tuple[Model, ...] = Field(min_length=1, description="models to run")
    decoding: Decoding
    engine: Engine
    heads: Heads
    neurons: Neurons
    efficiency: Efficiency
    stability: Stability
    masking: Masking
    groups: Groups
    logit_lens: LogitLens
    steering: Steering
    planted: PlantedCircuits
    report: Report

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Settings":
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"models: two models have the same name: {names}")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks: a task is listed twice: {list(self.tasks)}")
        return self

    @model_validator(mode="after")
    def _shards_are_of_a_task(self) -> "Settings":
        for name in ("heads", "neurons", "masking"):
            if self.jobs == "per_model" and getattr(self, name).shards > 1:
                raise ValueError(
                    f"{name}.shards divides a task's job: set jobs to per_task with it"
                )
        return self

    def rankers_of(self, model: str) -> tuple[str, ...]:
        """The rankers that are compared on the model of that name."""
        own = self.model(model).rankers
        return tuple(name for name in self.neurons.rankers if own is None or name in own)

    def model(self, name: str) -> Model:
        """The model of that name."""
        return next(model for model in self.models if model.name == name)


def load_settings(config: dict[str, Any], files: Sequence[str | Path] = ()) -> Settings:
    """Check a configuration that was read from `files`, later ones laid over earlier ones.

    SettingsError names the files, each key at fault and the closest known one, keys that stand
    twice in a file, and values that contradict each other, such as more samples than images.
    """
    problems = repeated_keys(files)
    try:
        settings = Settings.model_validate(config)
        problems += contradictions(settings)
    except ValidationError as error:
        problems += explained(error, Settings)
    if problems:
        read = f" ({' + '.join(str(file) for file in files)})" if files else ""
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise SettingsError(f"the configuration{read} is not usable:\n{lines}")
    return settings


def json_schema() -> str:
    """The JSON schema of the configuration, for editors and documents."""
    return json.dumps(Settings.model_json_schema(), indent=2) + "\n"
