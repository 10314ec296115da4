"""What the rankers find of the planted circuits, and where each of them has to fail."""

import numpy as np
import pandas as pd
import pytest
from planted_support import BROKEN, INTACT, model

from hones_core import artifacts
from hones_core.attribution.rankers import RANKERS, order
from hones_core.engine.interventions import ZeroNeurons
from hones_core.head_ranking import rank_heads
from hones_core.heads import measure_head_effects
from hones_core.planted.circuit import DISTRACTORS
from hones_core.planted.figure import recovery_heatmap
from hones_core.planted.measure import Options, measure_task, rank_task
from hones_core.planted.plan import labelled
from hones_core.planted.recovery import (
    auroc,
    precision_at_k,
    recover,
    recovery_tables,
    score_rankings,
    tied_score,
)
from hones_core.planted.world import TASKS
from hones_core.schemas.planted import PLANTED_RECOVERY, PLANTED_STRENGTHS, PLANTED_TRUTH

OPTIONS = Options()
CLEARLY = 0.1  # AUROC by which one ranker is clearly better than another


@pytest.fixture(scope="module")
def recovered(world):
    """Every ranker's recovery by strength."""
    frames = []
    for strength in (0.1, 1.0, 3.0, 30.0):
        adapter, truth = model("llava", strength)
        found = recover(adapter, truth, world.folder, world.instances, OPTIONS)
        frames.append(found.assign(strength=strength))
    return pd.concat(frames).set_index(["strength", "distractor", "ranker", "task"]).sort_index()


@pytest.mark.parametrize("task", TASKS)
def test_head_localization_finds_the_routing_heads(world, family, task):
    adapter, truth = model(family)
    effects = measure_head_effects(world.evaluator(adapter, task), world.instances[task])
    ranking = rank_heads(effects, "task_metric", 2)
    top = ranking[ranking["selected"]]
    assert set(zip(top["layer"], top["head"], strict=True)) == labelled(
        truth, task, "routing", "head"
    )
    assert ranking["score"].iloc[1] > 0.4 and ranking["score"].iloc[2] < 0.01


@pytest.mark.parametrize("task", TASKS)
def test_hones_finds_planted_neurons_among_polysemantic_ones(recovered, task):
    """As strong as planted neurons are; activation statistics and E[c] do not."""
    found = recovered.loc[1.0, "polysemantic"]
    hones = found.loc[("hones", task), "auroc"]
    assert hones >= 0.95
    for other in ("ap", "ma", "ape", "no_head"):
        assert hones > found.loc[(other, task), "auroc"] + CLEARLY, other
    assert found.loc[("hones", task), "precision_at_k"] == 1
    assert found.loc[("random", task), "precision_at_k"] < 0.3


@pytest.mark.parametrize("task", TASKS)
def test_where_each_method_breaks(recovered, task):
    alone = recovered["auroc_alone"]

    def of(ranker, distractor, strength):
        return alone.loc[strength, distractor, ranker, task]

    # what the head does not feed does not move with it, however strongly it writes
    for strength in (0.1, 1.0, 3.0, 30.0):
        assert of("hones", "aligned", strength) == 1
        assert of("hones", "silent", strength) == 1
    # E[c] takes any constant write-out for a contribution
    for distractor in ("polysemantic", "aligned"):
        assert of("no_head", distractor, 30.0) == 0
    if task in ("vqa", "retrieval"):  # with several target tokens it aligns with each of them
        assert of("no_head", "aligned", 0.1) == 1
    # a modulation of two percent of a strong write-out outweighs a rare word
    assert of("hones", "polysemantic", 1.0) > 0.99
    assert of("hones", "polysemantic", 30.0) < 0.8
    # a write-out that is cancelled later is still a write-out
    for ranker in ("hones", "no_head"):
        assert of(ranker, "cancelled", 0.1) == 1
        assert of(ranker, "cancelled", 3.0) == 0
    # mean activations over all positions prefer what always fires; a rare word fires once
    assert of("ma", "polysemantic", 0.1) == of("ap", "polysemantic", 0.1) == 0
    assert of("ap", "cancelled", 1.0) == pytest.approx(0.5)
    # the controls: other heads than the routing ones find nothing
    assert recovered.loc[(1.0, "all", "rand_head", task), "precision_at_k"] == 0


def test_where_the_rankers_of_single_answers_break(recovered):
    """VQA only: all take the answer's token for their target."""
    alone = recovered["auroc_alone"].xs("vqa", level="task")
    # what is written is counted, whoever feeds it and whatever becomes of it
    for distractor in ("polysemantic", "aligned", "cancelled"):
        assert alone[3.0, distractor, "dla"] == 0
    # a probability does not see what lifts all words, nor, integrated, what is taken back
    assert alone[1.0, "polysemantic", "llm_knowledge"] == 1
    assert alone[1.0, "cancelled", "qrnca"] > 0.9
    # alone, a neuron that lifts the task's words is as good as one that knows the word; and the
    # second of two planted neurons adds nothing to a probability that is 1 already
    assert alone[1.0, "aligned", "llm_knowledge"] < 0.1
    assert recovered.loc[(1.0, "background", "llm_knowledge", "vqa"), "precision_at_k"] < 0.6
    # neurons share the effect of their group, which holds one or two planted ones at most
    assert 0.6 < alone[1.0, "background", "group_patching"] < 0.95


@pytest.mark.parametrize(
    ("blind_spot", "label", "task"),
    [("late", "late", "ocr"), ("late", "late", "caption"), ("negative", "negative", "retrieval")],
)
def test_neurons_that_answer_unseen(world, blind_spot, label, task):
    """They carry the task as the planted ones do; at the last prompt token they write nothing."""
    adapter, truth = model("llava", blind_spot=blind_spot)
    neurons = labelled(truth, task, label)
    utility = world.utility(adapter, task, {"base": None, label: ZeroNeurons.of(neurons)})
    assert utility["base"] >= INTACT
    assert utility[label] <= BROKEN[task]
    measured = {task: measure_task(adapter, task, world.folder, world.instances[task], OPTIONS)}
    rankings = rank_task(task, measured, OPTIONS)
    background = labelled(truth, task, "background")
    for ranker in ("hones", "no_head", "ma", "ap", "ape"):
        rows = rankings[rankings["ranker"] == ranker]
        place = pd.MultiIndex.from_frame(rows[["layer", "neuron"]])
        score = pd.Series(tied_score(rows), index=place)
        seen = auroc(score[list(neurons)].to_numpy(), score[list(background)].to_numpy())
        assert seen < 0.7, ranker
        if ranker == "hones":
            assert seen < 0.1


def test_heads_that_back_each_other_up_leave_nothing_to_condition_on(world):
    adapter, truth = model("llava", blind_spot="backup")
    routing = labelled(truth, "vqa", "routing", "head")
    assert len(routing) == 4
    items = world.instances["vqa"]
    effects = measure_head_effects(world.evaluator(adapter, "vqa"), items)
    ranking = rank_heads(effects, "task_metric", 4).set_index(["layer", "head"])
    assert (ranking["score"].abs() < 0.01).all()
    measured = {"vqa": measure_task(adapter, "vqa", world.folder, items, OPTIONS)}
    with pytest.raises(ValueError, match="none of the selected heads has a positive score"):
        rank_task("vqa", measured, OPTIONS)


def test_a_wrong_truth_is_not_recovered(world):
    """The same rankings against labels that belong elsewhere: hardly better than chance."""
    adapter, truth = model("llava")
    measured = {"vqa": measure_task(adapter, "vqa", world.folder, world.instances["vqa"], OPTIONS)}
    rankings = rank_task("vqa", measured, OPTIONS)
    labels = truth[(truth["task"] == "vqa") & (truth["kind"] == "neuron")]
    wrong = labels.assign(label=labels["label"].sample(frac=1, random_state=0).to_numpy())
    found = score_rankings(rankings, wrong).set_index(["ranker", "distractor"])
    assert found.loc[("hones", "all"), "auroc"] < 0.75
    assert found.loc[("hones", "all"), "precision_at_k"] < 0.3


def test_a_model_that_does_not_answer_has_nothing_to_recover(world):
    adapter, truth = model.__wrapped__("llava")  # one of its own, to be broken
    for layer in adapter.layers:
        layer.mlp.down_proj.weight.zero_()
    with pytest.raises(ValueError, match=r"scores 0\.00 in vqa"):
        recover(adapter, truth, world.folder, {"vqa": world.instances["vqa"]}, OPTIONS)


def test_the_tables_hold_every_ranker_task_and_distractor(world, tmp_path):
    sweep, truth = recovery_tables(world.folder, world.instances, [1.0, 3.0], 0, OPTIONS)
    reference = sweep[sweep["strength"] == 1.0]
    schemas = (PLANTED_STRENGTHS, PLANTED_RECOVERY, PLANTED_TRUTH)
    for frame, schema in zip((sweep, reference, truth), schemas, strict=True):
        artifacts.write(tmp_path / "table.parquet", frame, schema, {})
        assert len(artifacts.read(tmp_path / "table.parquet", schema)) == len(frame)
    names = ["model", "task", "distractor", "ranker", "auroc", "precision_at_k"]
    assert PLANTED_RECOVERY.names[:6] == names
    assert set(reference["ranker"]) == set(RANKERS)
    assert set(reference["distractor"]) == {*DISTRACTORS, "background", "all"}
    assert set(reference["task"]) == set(TASKS)
    assert reference[["auroc", "precision_at_k", "auroc_alone"]].stack().between(0, 1).all()
    assert (reference["n_planted"] == 14).all() and (reference["base_utility"] >= INTACT).all()
    assert reference.groupby("ranker")["n_seeds"].first()["random"] == 2
    texts = {text.get_text() for axis in recovery_heatmap(sweep).axes for text in axis.texts}
    shown = sweep.groupby(["distractor", "ranker", "strength"])["auroc_alone"].mean()
    assert texts == {f"{value:.2f}" for value in shown}


def test_auroc_and_precision_are_what_they_say():
    generator = np.random.default_rng(0)
    for _ in range(20):
        score = generator.integers(0, 6, 30).astype(float)  # many ties
        positive = generator.random(30) < 0.4
        wins = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
        assert auroc(score[positive], score[~positive]) == pytest.approx(np.mean(wins))
        k = int(positive.sum())
        expected = []
        for _ in range(2000):
            first = np.lexsort((generator.random(30), -score))[:k]
            expected.append(positive[first].mean())
        assert precision_at_k(score, positive, k) == pytest.approx(np.mean(expected), abs=0.02)
    with pytest.raises(ValueError, match="at least one score of each kind"):
        auroc(score, score[:0])
    with pytest.raises(ValueError, match="k is 31, but there are 30 scores"):
        precision_at_k(score, positive, 31)


def test_neurons_tie_where_score_and_tie_breaker_do():
    ranking = order(np.array([[2.0, 1.0, 1.0, 1.0]]), np.array([[0.0, 3.0, 5.0, 3.0]]))
    score = pd.Series(tied_score(ranking), index=ranking["neuron"])
    assert score[0] > score[2] > score[1] == score[3]
