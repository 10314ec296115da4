"""The configuration: every value that a user may change, checked before anything runs.

`config.yaml` holds the toy run's values with a comment at every key; `configs/paper.yaml` is an
overlay with the real models and data. `docs/config.schema.json` is generated from these models.
"""

import difflib
import json
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hones_core.config_checks import contradictions, repeated_keys
from hones_core.family_catalogue import FAMILIES
from hones_core.ranker_catalogue import CATALOGUE, can_be_drawn
from hones_core.task_catalogue import TASK_NAMES

# Strict: `yes` is no 1, and "3" no 3.
Positive = Annotated[int, Field(gt=0, strict=True)]
NotNegative = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]  # what every generator takes
FilePath = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Share = Annotated[float, Field(gt=0, le=1)]
ColourPart = Annotated[int, Field(ge=0, le=255, strict=True)]
if TYPE_CHECKING:  # a type checker knows literals only, not what a catalogue holds
    TaskName: TypeAlias = str
    FamilyName: TypeAlias = str
    RankerName: TypeAlias = str
else:
    TaskName = Literal[*TASK_NAMES]
    FamilyName = Literal[*FAMILIES]
    RankerName = Literal[*CATALOGUE]
Samples = dict[TaskName, Positive | None]  # discovery instances of a task; null or left out: all
SplitName = Literal["development", "test"]


OFFICIAL_FILES = {
    "captions": "annotations/captions_train2014.json",
    "coco_text": "annotations/cocotext.v2.json",
    "vqa_questions": "annotations/v2_OpenEnded_mscoco_train2014_questions.json",
    "vqa_annotations": "annotations/v2_mscoco_train2014_annotations.json",
}


# Pydantic's words for what stands in a file.
_WORDS = {
    "valid tuple": "list",
    "Tuple": "List",
    " after validation": "",
    "valid dictionary or instance of": "section of keys,",
    "valid dictionary": "section of keys",
}
LONGEST_LINE = 450  # characters
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


class SettingsError(Exception):
    """A configuration that cannot be run, with the key at fault and what to do."""


def _unique(values: tuple) -> tuple:
    """The values of a list; ValueError if one of them is listed twice."""
    if len(set(values)) < len(values):
        raise ValueError("a value is listed twice")
    return values


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ToyScenes(Section):
    """The generated scenes that stand in for COCO."""

    n_images: Positive = Field(description="number of scenes to draw")
    seed: Seed = Field(description="seed of the scenes; never one used in training")


class Data(Section):
    """Where the official files are, or the toy scenes that are written in their place."""

    image_folder: FilePath = Field(description="folder of the images (train2014)")
    captions: FilePath = Field(description="captions_train2014.json")
    coco_text: FilePath = Field(description="cocotext.v2.json")
    vqa_questions: FilePath = Field(description="VQAv2 questions of train2014")
    vqa_annotations: FilePath = Field(description="VQAv2 annotations of train2014")
    toy_scenes: ToyScenes | None = Field(
        description="write generated scenes at these paths first; null: the files are yours"
    )

    @model_validator(mode="after")
    def _toy_files_have_their_official_names(self) -> "Data":
        if self.toy_scenes is None:
            return self
        folder = Path(self.image_folder).parent
        if folder.parts[:1] != ("results",) or ".." in folder.parts:
            raise ValueError(
                f"generated scenes would be written over {folder}: if these files are yours, set "
                "toy_scenes to null; if not, choose a folder under results/"
            )
        for key, name in OFFICIAL_FILES.items():
            wanted = folder / name
            if Path(getattr(self, key)) != wanted:
                raise ValueError(f"generated scenes are written as {wanted}: set {key} to that")
        return self


class Splits(Section):
    """Number of images in each split."""

    discovery: Positive = Field(description="images for head and neuron localization")
    development: Positive = Field(description="images for learning scales and choosing groups")
    test: Positive = Field(description="images for every reported figure")


class Retrieval(Section):
    """The image-to-text retrieval pools."""

    n_queries: Splits = Field(description="query images of each split")
    n_negatives: Positive = Field(description="hard negatives per query")
    pool_fraction: Share = Field(description="share of a split's images that give the pool")
    distinct_captions: bool = Field(
        description="whether a text that several images share is one candidate"
    )


class Outline(Section):
    """The blue box around the text to be read."""

    colour: tuple[ColourPart, ColourPart, ColourPart] = Field(description="RGB, 0 to 255")
    width_px: Positive = Field(description="line width in pixels")


class Benchmark(Section):
    """Which images and annotations make the four tasks (METHOD 1)."""

    seed: Seed = Field(description="seed of every random choice of the benchmark")
    splits: Splits = Field(description="sizes of the splits")
    question_selection: Literal["first", "seeded_random"] = Field(
        description="which of an image's questions is asked"
    )
    box_selection: Literal["largest", "first", "seeded_random"] = Field(
        description="which of an image's text boxes is read"
    )
    min_height_px: NotNegative = Field(description="lowest text box that may be chosen")
    outline: Outline = Field(description="the blue box")
    image_shards: Positive = Field(description="jobs that share the drawing of images")
    retrieval: Retrieval = Field(description="the retrieval pools")


class QuestionSet(Section):
    """GQA or TextVQA."""

    questions: FilePath = Field(description="the questions file with its answers")
    image_folder: FilePath = Field(description="folder of its images")
    n_images: Positive | None = Field(description="images to use; null: all")
    questions_per_image: Positive | None = Field(description="questions of an image; null: all")


class CaptionSet(Section):
    """Flickr30k, in any of the three forms of its captions."""

    captions: FilePath = Field(
        description="dataset_flickr30k.json, results.csv or flickr_annotations_30k.csv"
    )
    image_folder: FilePath = Field(description="folder of its images")
    split: Literal["train", "val", "test"] | None = Field(
        description="Karpathy's split to use; null: all images"
    )
    n_images: Positive | None = Field(description="images to use; null: all")
    n_queries: Positive = Field(description="query images of retrieval")
    n_negatives: Positive = Field(description="hard negatives per query")
    pool_fraction: Share = Field(description="share of the images that give the pool")


class OutOfDistribution(Section):
    """Other data sets on which neuron groups and scales are tried (METHOD 8, E.3)."""

    seed: Seed = Field(description="seed of the choice of images and of the divisions")
    tuning_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of a set's images on which scales may be learned"
    )
    repeats: Positive = Field(description="random divisions of a set")
    gqa: QuestionSet = Field(description="GQA, balanced questions")
    textvqa: QuestionSet = Field(description="TextVQA 0.5.1")
    flickr30k: CaptionSet = Field(description="Flickr30k")
    toy_scenes: ToyScenes | None = Field(
        description="write scenes of another kind at these paths first; null: the files are yours"
    )


class Download(Section):
    """Where `snakemake download_coco` puts the official files; nothing else uses it."""

    folder: FilePath = Field(description="folder that gets train2014/ and annotations/")


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
        return _unique(budgets)

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
        if len(set(names)) < len(names):
            raise ValueError("a ranker is listed twice")
        return names


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
        return _unique(ratios)


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
        return _unique(names)


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
        return _unique(values)


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
        problems += _explained(error)
    if problems:
        read = f" ({' + '.join(str(file) for file in files)})" if files else ""
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise SettingsError(f"the configuration{read} is not usable:\n{lines}")
    return settings


def _explained(error: ValidationError) -> list[str]:
    """A line for each key at fault."""
    problems = error.errors()
    places = [problem["loc"] for problem in problems]
    # A list whose items are all wrong is also reported as too short: say only why.
    return [
        _explain(problem)
        for problem in problems
        if not any(
            place[:-1] and place[: len(problem["loc"])] == problem["loc"] != place
            for place in places
        )
    ]


def plain(section: BaseModel | dict[str, Any]) -> dict[str, Any]:
    """A section as builtins in canonical key order, as Snakemake's `params` need it."""
    if isinstance(section, BaseModel):
        section = section.model_dump(mode="json")
    return json.loads(json.dumps(section, sort_keys=True))


def json_schema() -> str:
    """The JSON schema of the configuration, for editors and documents."""
    return json.dumps(Settings.model_json_schema(), indent=2) + "\n"


def _explain(problem: Mapping[str, Any]) -> str:
    where = ".".join(_named(part) for part in problem["loc"]) or "config"
    if problem["type"] != "extra_forbidden":
        # Of a whole section, the message says which of its values are meant.
        silent = problem["type"] == "missing" or isinstance(problem["input"], dict | BaseModel)
        given = "" if silent else f" (given: {_SHORT.repr(problem['input'])})"
        text = problem["msg"].removeprefix("Value error, ")
        for word, known in _WORDS.items():
            text = text.replace(word, known)
        return _cut(f"{where}: {text}{given}")
    keys = _known_keys(problem["loc"][:-1])
    close = difflib.get_close_matches(str(problem["loc"][-1]), keys, n=1, cutoff=0.0)
    return _cut(f"{where}: unknown key; did you mean {close[0]!r}?")


def _cut(line: str) -> str:
    """The line, ended where nobody reads on."""
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."


def _named(part: str | int) -> str:
    """A key or index for a message on one line."""
    text = str(part)
    return text if text.isprintable() and len(text) < 100 else _SHORT.repr(text)


def _known_keys(location: tuple) -> list[str]:
    """Keys of the section at `location`."""
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _section_of(model.model_fields[part].annotation)
    return list(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument
    raise TypeError(f"{annotation} is not a section of the configuration")
