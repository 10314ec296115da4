"""Masking each ranker's top neurons: drops (paper's Tables 1 and 2), scores (Table 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from hones_core.schemas.tables import MASKING_DROP, MASKING_SCORE
from hones_core.statistics import (
    NO_ESTIMATE,
    Sampled,
    Score,
    combine,
    difference,
    mean_of,
    relative_drop,
    spread,
    summarize,
)
from hones_core.tables.common import (
    AVERAGE,
    Bootstrap,
    Frames,
    PaperFigures,
    columns_of,
    frame_of,
    models_of,
    ordered,
    ordered_tasks,
    paired_scores,
    same_instances,
    single,
    table_frame,
    tasks_of,
)
from hones_core.tasks.vqa import vqa_accuracy_2021

RANKER_ORDER = (
    "base",
    "random",
    "ap",
    "ma",
    "ape",
    "mmneuron",
    "dla",
    "group_patching",
    "qrnca",
    "llm_knowledge",
    "no_head",
    "rand_head",
    "gaussian",
    "hones",
)


@dataclass(frozen=True)
class Run:
    """One ranker on one task, or on the average over tasks: a quantity for each seed.

    n_nonzero: neurons whose score is not 0, the fewest of any seed and task.
    """

    seeds: dict[int, Sampled]
    n_neurons: int
    n_nonzero: int
    n_instances: int

    @property
    def mean(self) -> Sampled:
        """The mean over the seeds."""
        return mean_of(list(self.seeds.values()))


def masking_drop(
    base: Frames,
    masked: Frames,
    scores: Mapping[str, Score],
    paper: pd.DataFrame | None,
    compare_with: Mapping[str, str | None],
    bootstrap: Bootstrap,
    control: str = "random",
) -> pd.DataFrame:
    """Relative drops in percent, in the columns of schemas.tables.MASKING_DROP.

    `base` and `masked` are BASE_PREDICTIONS and MASKED_PREDICTIONS of each (model, task); of the
    base the masked instances are used. `scores` maps a task to its score, `paper` is
    masking_relative_drop_percent.csv (masking_vqa_other_rankers.csv may be appended). `excess` is
    the drop less that of the ranker `control`. Raises AlignmentError if the instances differ.
    """
    figures = PaperFigures(paper, "strategy", "relative_drop_percent", compare_with)
    rows = []
    for model in models_of(masked):
        runs = _with_average(_drops(base, masked, scores, model, bootstrap))
        for (ranker, task), run in _in_order(runs):
            drop = run.mean
            excess = NO_ESTIMATE
            if ranker != control and (control, task) in runs:
                beyond = combine(difference, runs[control, task].mean, drop)
                excess = summarize(beyond, bootstrap.level)
            row = _row(model, ranker, task, run) | {"n_nonzero": run.n_nonzero}
            row |= columns_of("drop", summarize(drop, bootstrap.level))
            row |= columns_of("excess", excess) | {"shown": excess.low > 0}
            row |= {"paper_model": figures.model(model)}
            rows.append(row | {"paper_drop": figures.beside(model, ranker, task, runs)})
    return table_frame(rows, MASKING_DROP, bootstrap)


def masking_score(
    base: Frames,
    masked: Frames,
    scores: Mapping[str, Score],
    paper: pd.DataFrame | None,
    compare_with: Mapping[str, str | None],
    bootstrap: Bootstrap,
    answers: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Absolute scores in [0, 1], in the columns of schemas.tables.MASKING_SCORE.

    Inputs as for `masking_drop`; `paper` is masking_absolute_score.csv; `answers` are those of each
    instance of vqa, by its id. The base is the ranker `base`, with no neuron masked. Raises
    KeyError for a prediction of vqa without answers.
    """
    figures = PaperFigures(paper, "strategy", "score", compare_with)
    rows = []
    for model in models_of(masked):
        runs = _with_average(_scores(base, masked, scores, model, bootstrap))
        of_2021 = _scores_2021(base, masked, answers, model)
        for (ranker, task), run in _in_order(runs):
            row = _row(model, ranker, task, run)
            row |= columns_of("score", summarize(run.mean, bootstrap.level), p=False)
            row |= {"score_2021": of_2021.get((ranker, task), float("nan"))}
            row |= {"paper_model": figures.model(model)}
            rows.append(row | {"paper_score": figures.beside(model, ranker, task, runs)})
    return table_frame(rows, MASKING_SCORE, bootstrap)


def _scores(
    base: Frames, masked: Frames, scores: Mapping[str, Score], model: str, bootstrap: Bootstrap
) -> dict[tuple[str, str], Run]:
    """The sampled scores of the base and of each ranker: (ranker, task) -> seeds."""
    runs = {}
    for task in tasks_of(masked, model):
        what = f"masked predictions of {model}, {task}"
        frame = masked[model, task]
        by_seed = dict(iter(frame.groupby(["ranker", "seed"])))
        first = next(iter(by_seed.values()))
        whole = frame_of(base, model, task, "base predictions")
        systems = {("base", 0): same_instances(whole, first), **by_seed}
        sampled = paired_scores(systems, scores[task], bootstrap, what)
        for ranker in dict.fromkeys(name for name, _ in systems):
            seeds = {int(seed): value for (name, seed), value in sampled.items() if name == ranker}
            budget = nonzero = 0
            if ranker != "base":
                own = frame[frame["ranker"] == ranker]
                budget = single(own["n_neurons"], f"{what}: n_neurons of {ranker}")
                nonzero = int(own["n_nonzero"].min())
            runs[ranker, task] = Run(seeds, budget, nonzero, len(first))
    return runs


def _scores_2021(
    base: Frames, masked: Frames, answers: Mapping[str, Sequence[str]], model: str
) -> dict[tuple[str, str], float]:
    """VQA's second score (METHOD 3) of the base and of each ranker: (ranker, "vqa") -> mean."""
    if (model, "vqa") not in masked:
        return {}
    rows = masked[model, "vqa"]
    unmasked = same_instances(base[model, "vqa"], rows).assign(ranker="base", seed=0)
    rows = pd.concat([unmasked, rows], ignore_index=True)
    texts = zip(rows["prediction"], rows["instance_id"], strict=True)
    accuracy = [vqa_accuracy_2021(text, answers[instance]) for text, instance in texts]
    by_seed = rows.assign(accuracy=accuracy).groupby(["ranker", "seed"])["accuracy"].mean()
    means = by_seed.groupby("ranker").mean()
    return {(ranker, "vqa"): float(mean) for ranker, mean in means.items()}


def _drops(
    base: Frames, masked: Frames, scores: Mapping[str, Score], model: str, bootstrap: Bootstrap
) -> dict[tuple[str, str], Run]:
    """The sampled relative drops of each ranker: (ranker, task) -> seeds."""
    runs = _scores(base, masked, scores, model, bootstrap)
    drops = {}
    for (ranker, task), run in runs.items():
        if ranker != "base":
            unmasked = runs["base", task].mean
            seeds = {
                seed: combine(relative_drop, unmasked, score) for seed, score in run.seeds.items()
            }
            drops[ranker, task] = replace(run, seeds=seeds)
    return drops


def _with_average(runs: dict[tuple[str, str], Run]) -> dict[tuple[str, str], Run]:
    """`runs` and, for each ranker that has all of the model's tasks, their average.

    The average is taken seed by seed; where the tasks' seeds differ it is one run, of the means.
    """
    tasks = dict.fromkeys(task for _, task in runs)
    averaged = dict(runs)
    for ranker in dict.fromkeys(ranker for ranker, _ in runs):
        parts = [runs[ranker, task] for task in tasks if (ranker, task) in runs]
        if len(parts) < len(tasks):
            continue  # such as a ranker for VQA only: its average would be another quantity
        if all(part.seeds.keys() == parts[0].seeds.keys() for part in parts):
            seeds = {seed: mean_of([part.seeds[seed] for part in parts]) for seed in parts[0].seeds}
        else:
            seeds = {0: mean_of([part.mean for part in parts])}
        averaged[ranker, AVERAGE] = Run(
            seeds,
            max(part.n_neurons for part in parts),
            min(part.n_nonzero for part in parts),
            sum(part.n_instances for part in parts),
        )
    return averaged


def _row(model: str, ranker: str, task: str, run: Run) -> dict:
    sd, least, most = spread([seed.value for seed in run.seeds.values()])
    return {
        "model": model,
        "ranker": ranker,
        "task": task,
        "n_instances": run.n_instances,
        "n_neurons": run.n_neurons,
        "n_seeds": len(run.seeds),
        "seed_sd": sd,
        "seed_min": least,
        "seed_max": most,
    }


def _in_order(runs: dict[tuple[str, str], Run]) -> list[tuple[tuple[str, str], Run]]:
    rankers = ordered((ranker for ranker, _ in runs), RANKER_ORDER)
    tasks = ordered_tasks(task for _, task in runs)
    places = [(ranker, task) for ranker in rankers for task in tasks]
    return [(place, runs[place]) for place in places if place in runs]
