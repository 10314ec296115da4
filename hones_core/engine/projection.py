"""What a configuration will compute and need: one row for every model, stage and task.

Sizes come from a local config.json or from a table of known checkpoints, lengths from `workload`,
memory from `budget`: no weights are needed.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from hones_core.engine import budget, workload
from hones_core.engine.budget import Sizes
from hones_core.engine.lengths import Lengths, side_by_side
from hones_core.engine.shapes import KNOWN_CONFIGS, Shape, image_tokens, shape_from_config
from hones_core.engine.sizing import SHARES, Chosen, choose, given_sizes
from hones_core.engine.workload import Cost, Interventions
from hones_core.family_catalogue import FAMILIES
from hones_core.neuron_sets import SELECTIVITY_KINDS, groups_with
from hones_core.ranker_catalogue import applicable, artifacts_for
from hones_core.schemas.lens import SETS as LENS_SETS
from hones_core.settings import Model, Settings, SettingsError


@dataclass(frozen=True)
class Speed:
    """Operations and bytes per second; token_layers per second instead where they were measured."""

    flops: float
    bandwidth: float
    token_layers: float | None

    def seconds(self, shape: Shape, lengths: Lengths, cost: Cost, patches: int) -> float:
        """Of one sample: whole passes, decoding (reading all weights in each step, if that takes
        longer than computing), and the vision tower."""
        per_token = shape.flops(lengths.columns)
        rate = self.token_layers or self.flops / per_token
        steps = cost.decoded / shape.layers / cost.together
        weights = shape.layers * shape.layer_parameters * shape.value_bytes
        decoding = max(cost.decoded / rate, steps * weights / self.bandwidth)
        tower = cost.images * 2 * shape.vision * patches / (rate * per_token)
        return cost.passed / rate + decoding + tower


@dataclass(frozen=True)
class Job:
    """One stage of one task: samples, interventions on each, and what is measured."""

    stage: str
    task: str
    samples: int
    work: str
    interventions: Interventions
    targets: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the plan; token-layers and tokens of one sample, memory in GB, hours of all."""

    model: str
    stage: str
    task: str
    samples: int
    interventions: int
    tokens: int
    plain_token_layers: float
    fast_token_layers: float
    least_token_layers: float
    samples_at_once: int
    interventions_at_once: int
    decode_rows: int
    peak_gb: float
    main_memory_gb: float
    fits: bool
    plain_hours: float
    fast_hours: float
    shard_hours: float
    released_hours: float


def checkpoint_config(path: str) -> dict:
    """A model's config.json, from its folder or from the table of known checkpoints.

    Raises SettingsError for a hub id that is not in the table.
    """
    file = Path(path) / "config.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    if path in KNOWN_CONFIGS:
        return KNOWN_CONFIGS[path]
    raise SettingsError(
        f"the sizes of {path!r} are not known here: give a folder with its config.json, or one of "
        f"{', '.join(KNOWN_CONFIGS)}"
    )


def pixels(model: Model) -> tuple[int, int | None]:
    """Bounds of an image's area: the configuration's, or those of a local image processor.

    Without either they are taken as none, which holds for photographs of COCO's sizes.
    """
    own: dict = {}
    file = Path(model.path) / "preprocessor_config.json"
    if file.exists():
        own = json.loads(file.read_text(encoding="utf-8"))
    size = own.get("size") or {}
    least = model.min_pixels or own.get("min_pixels") or size.get("shortest_edge") or 0
    return least, model.max_pixels or own.get("max_pixels") or size.get("longest_edge")


def jobs(settings: Settings, model: Model, shape: Shape) -> list[Job]:
    """What runs the model on the benchmark, in the workflow's order, without other data sets."""
    heads = Interventions(shape.layers * shape.heads, anywhere=True)
    matrix = len(SELECTIVITY_KINDS) * len(settings.tasks) * (1 + settings.groups.selectivity_trials)
    learned, tried, steered = steering_runs(settings)
    found = []
    for task in settings.tasks:
        sizes = settings.benchmark.splits
        if task == "retrieval":
            sizes = settings.benchmark.retrieval.n_queries
        asked = settings.heads.samples.get(task) or sizes.discovery
        whole = sizes.discovery + sizes.development + sizes.test
        work = budget.CANDIDATES if task == "retrieval" else budget.ANSWERS
        groups = len(groups_with(task, settings.tasks)) * (1 + settings.groups.random_trials)
        masks = Interventions(orders(settings, model, task), False)
        both = sizes.development + sizes.test
        lens = Interventions(len(LENS_SETS), False)
        found += [
            Job("base", task, whole, work, Interventions(0, False), targets=True),
            Job("head effects", task, asked, work, heads, targets=True),
            *_neuron_measurements(settings, model, task, heads.count, sizes.discovery),
            Job("masking", task, sizes.test, work, masks),
            Job("group masking", task, both, work, Interventions(groups, False)),
            Job("selectivity", task, sizes.test, work, Interventions(matrix, False)),
            Job("logit lens", task, sizes.test, budget.PROMPTS, lens),
            Job("steering", task, sizes.development, "steering", Interventions(learned, False)),
            Job("steering choices", task, sizes.development, work, Interventions(tried, False)),
            Job("steered", task, sizes.test, work, Interventions(steered, False)),
        ]
        if task == "caption":
            erased = Job("erased texts", task, sizes.test, work, Interventions(groups, False))
            found.append(erased)
    stages = [job.stage for job in found]
    return sorted(found, key=lambda job: stages.index(job.stage))


def orders(settings: Settings, model: Model, task: str) -> int:
    """Orders of the task's neurons, by all rankers and seeds; each is masked once."""
    rankers = applicable(settings.rankers_of(model.name), task, settings.tasks)
    return sum(settings.neurons.seeds_of.get(name, 1) for name in rankers)


def _neuron_measurements(
    settings: Settings, model: Model, task: str, n_heads: int, discovery: int
) -> list[Job]:
    """What the model's rankers read of the prompts, but for the token-level ones of VQA."""
    names = applicable(settings.rankers_of(model.name), task, settings.tasks)
    drawn = min(n_heads, settings.neurons.random_head_seeds * model.top_heads)
    heads_of = {  # artifact: the stage, and the heads that it disturbs
        "neuron_effects": ("neuron effects", model.top_heads),
        "random_head_effects": ("random heads", drawn),
        "gaussian_effects": ("gaussian heads", model.top_heads),
        "activation_statistics": ("activations", 0),
    }
    samples = settings.neurons.samples.get(task) or discovery
    needed = artifacts_for(names)
    return [
        Job(stage, task, samples, budget.PROMPTS, Interventions(count, anywhere=True))
        for artifact, (stage, count) in heads_of.items()
        if artifact in needed
    ]


def steering_runs(settings: Settings) -> tuple[int, int, int]:
    """Learnings of a task, interventions that are scored on development, and those on test.

    At most: banks are as large as their group allows, and equal runs are run once.
    """
    steering = settings.steering
    others = 1 + steering.random_seeds  # without KL, and the random banks
    learned = len(steering.bank_sizes) * len(steering.kl_weights) + others
    tried = learned + len(steering.grid_factors) + 1  # and the fixed factor
    return learned, tried, others + 3 + len(settings.tasks) - 1  # and the other tasks' scales


def rows(
    settings: Settings,
    memory_gb: float,
    speeds: dict[int, Speed],
    shards: int,
    device: str = "cuda",
) -> list[Row]:
    """The plan of all models; `speeds` by the bytes of a number; `device` cuda or cpu."""
    found = []
    for model in settings.models:
        config = checkpoint_config(model.path)
        shape = shape_from_config(config, model.dtype)
        speed = speeds[shape.value_bytes]
        setting = _Setting(
            settings,
            model,
            shape,
            image_tokens(config, *pixels(model)),
            memory_gb,
            speed,
            shards,
            device,
        )
        found += [setting.row(job) for job in jobs(settings, model, shape)]
    return found


@dataclass(frozen=True)
class _Setting:
    """What all rows of one model share."""

    settings: Settings
    model: Model
    shape: Shape
    image: tuple[int, int]
    memory_gb: float
    speed: Speed
    shards: int
    device: str

    def row(self, job: Job) -> Row:
        """Sizes first, as they say how many rows are decoded together; then costs and hours."""
        usual, largest = self.lengths(job.task)
        if job.stage == "head effects" and job.task in self.joint_tasks:
            largest = self.joint_lengths()
        chosen = self.chosen(job, largest)
        plain, fast, least = self.costs(job, usual, chosen.sizes)
        plain_hours, fast_hours = (self.hours(job, usual, cost) for cost in (plain, fast))
        released = self.released(job, usual)
        peak = (chosen.peak + self.shape.weight_bytes) / 1e9
        return Row(
            self.model.name,
            job.stage,
            job.task,
            job.samples,
            job.interventions.count,
            usual.columns if usual.candidates == 0 or job.work == budget.PROMPTS else _tree(usual),
            plain.token_layers,
            fast.token_layers,
            least,
            chosen.sizes.samples,
            chosen.sizes.copies,
            chosen.sizes.decode_rows,
            peak,
            self.cached_states(job, usual) / 1e9,
            chosen.peak <= chosen.free,
            plain_hours,
            fast_hours,
            fast_hours / self.shards,
            self.hours(job, usual, released) if released else 0.0,
        )

    def lengths(self, task: str) -> tuple[Lengths, Lengths]:
        """Of an ordinary instance, and of the longest."""
        candidates = 1 + self.settings.benchmark.retrieval.n_negatives
        family, (image, most) = self.model.family, self.image
        new = self.settings.decoding.max_new_tokens
        return (
            workload.typical(family, task, image, candidates),
            workload.longest(family, task, most, candidates, new),
        )

    @property
    def joint_tasks(self) -> tuple[str, ...]:
        """Those whose head effects are measured in one pass, which the plain path cannot."""
        return self.settings.heads.joint_tasks if self.settings.engine.path == "fast" else ()

    def joint_lengths(self) -> Lengths:
        """Of the longest questions of the joint tasks in one row, behind the image."""
        return side_by_side([self.lengths(task)[1] for task in self.joint_tasks], self.image[1])

    def chosen(self, job: Job, lengths: Lengths) -> Chosen:
        """The sizes that `open_evaluator` would plan on a device with that much free memory."""
        free = max(0.0, self.memory_gb * 1e9 - self.shape.weight_bytes) * SHARES[self.device]
        if job.work == "steering":
            rows = self.settings.steering.batch_size
            peak = budget.steering_peak(self.shape, lengths, rows)
            return Chosen(Sizes(samples=rows), peak, int(free))
        engine = self.settings.engine
        given = given_sizes(
            job.work,
            self.model.batch_size,
            engine.interventions_at_once,
            engine.decode_rows,
            engine.candidate_rows,
        )
        return choose(self.shape, job.work, lengths, int(free), given, self.device)

    def costs(self, job: Job, lengths: Lengths, sizes: Sizes) -> tuple[Cost, Cost, float]:
        """Of one sample by the plain path, by the fast engine; and the least token-layers."""
        shape, many = self.shape, job.interventions
        if job.work == budget.PROMPTS:
            fast = workload.fast_prompts(shape, lengths, many)
            return workload.plain_prompts(shape, lengths, many.count), fast, fast.token_layers
        if job.work == budget.CANDIDATES:
            fast = workload.fast_candidates(shape, lengths, many)
            return workload.plain_candidates(shape, lengths, many.count), fast, fast.token_layers
        if job.work == "steering":
            examples, epochs = self.examples(job.task), self.settings.steering.epochs
            distinct = self.distinct(job.task)
            epochs *= job.interventions.count  # of every learning; all share the cached states
            fast = workload.fast_steering(shape, lengths, examples, epochs, distinct)
            plain = workload.plain_steering(shape, lengths, examples, epochs)
            return plain, fast, fast.token_layers
        leaving, at_once = workload.LEAVING[job.task], sizes.decode_rows
        return (
            workload.plain_answers(shape, lengths, many.count, job.targets, sizes.samples),
            workload.fast_answers(shape, lengths, many, leaving, job.targets, at_once),
            workload.least_answers(shape, lengths, many, leaving, job.targets),
        )

    def released(self, job: Job, lengths: Lengths) -> Cost | None:
        """Head effects as published: each head and sample generated by itself, no targets."""
        if job.stage != "head effects":
            return None
        if job.work == budget.CANDIDATES:
            return workload.plain_candidates(self.shape, lengths, job.interventions.count)
        return workload.plain_answers(self.shape, lengths, job.interventions.count, False, 1)

    def examples(self, task: str) -> int:
        """Steering examples of one instance in an epoch."""
        return 1 + self.settings.steering.negatives_per_query if task == "retrieval" else 1

    def distinct(self, task: str) -> int:
        """Different ones in all epochs: captions and negatives are drawn anew in each."""
        epochs = self.settings.steering.epochs
        if task == "retrieval":
            return 1 + self.settings.steering.negatives_per_query * epochs
        return epochs if task == "caption" else 1

    def cached_states(self, job: Job, lengths: Lengths) -> int:
        """Bytes of main memory in which steering keeps the states of its examples."""
        if job.work != "steering":
            return 0
        states = (lengths.prompt + 2 * lengths.target) * self.shape.width * self.shape.value_bytes
        return job.samples * self.distinct(job.task) * states

    def hours(self, job: Job, lengths: Lengths, cost: Cost) -> float:
        merged = 4 if FAMILIES[self.model.family].any_resolution else 1  # patches of a token
        seconds = self.speed.seconds(self.shape, lengths, cost, self.image[0] * merged)
        return job.samples * seconds / 3600


def _tree(lengths: Lengths) -> int:
    return lengths.prefix + lengths.candidates * lengths.suffix
