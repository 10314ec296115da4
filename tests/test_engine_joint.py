"""Tasks measured together on one image, against each task by itself."""

from dataclasses import replace

import pytest
from engine_support import ROUNDING
from model_support import make_instances, outcomes_of

from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import MeanReplaceHead, ZeroNeurons
from hones_core.engine.joint import JointEvaluator

pytest_plugins = ["model_fixtures"]


def evaluator(tiny, task: str, **options) -> Evaluator:
    return Evaluator(tiny.adapter, task, tiny.images, 3, 6, **options)


def settings(positions: str) -> dict:
    heads = {
        (layer, head): MeanReplaceHead(layer, head, positions)
        for layer in range(2)
        for head in range(4)
    }
    return {"base": None, "neurons": ZeroNeurons.of([(0, 1), (0, 2), (1, 5)]), **heads}


def together(joint: JointEvaluator, instances: dict, interventions: dict) -> dict:
    """{(label, instance_id): outcome}"""
    found = {}
    for chunk in joint.chunks([one for own in instances.values() for one in own]):
        outcomes = joint.outcomes_under(joint.prepare(chunk), interventions)
        found |= {(label, one.instance_id): one for label in outcomes for one in outcomes[label]}
    return found


@pytest.mark.parametrize("positions", ["all", "last"])
def test_each_task_is_as_by_itself(tiny, positions):
    """With images that only one of the tasks asks about, and answers of different length."""
    instances = {"vqa": make_instances("vqa", 5), "caption": make_instances("caption", 4)}
    evaluators = [evaluator(tiny, task, close_margin=0.0) for task in instances]
    interventions = settings(positions)
    found = together(JointEvaluator(evaluators), instances, interventions)
    assert len(found) == 9 * len(interventions)
    for one in evaluators:
        for chunk in one.chunks(instances[one.task_name]):
            for label, outcomes in one.outcomes_under(one.prepare(chunk), interventions).items():
                for outcome in outcomes:
                    own = found[label, outcome.instance_id]
                    same = replace(
                        own,
                        target_logprob=outcome.target_logprob,
                        first_token_logprob=outcome.first_token_logprob,
                    )
                    assert same == outcome, label
                    for name in ("target_logprob", "first_token_logprob"):
                        expected = pytest.approx(getattr(outcome, name), abs=ROUNDING)
                        assert getattr(own, name) == expected, label
    effects = {label for label, name in found if found[label, name] != found["base", name]}
    assert len(effects) == len(interventions) - 1  # every intervention does something


def test_two_questions_of_one_task_about_one_image(tiny):
    first, second = make_instances("vqa", 2)
    second = replace(second, image=first.image)
    one = evaluator(tiny, "vqa", close_margin=0.0)
    found = together(JointEvaluator([one]), {"vqa": [first, second]}, {"base": None})
    expected = outcomes_of(one, one.prepare([first, second]))
    assert [found["base", i.instance_id].prediction for i in (first, second)] == [
        outcome.prediction for outcome in expected
    ]


def test_close_calls_are_made_again_for_their_own_task(tiny):
    instances = {"vqa": make_instances("vqa", 2), "caption": make_instances("caption", 2)}
    evaluators = [evaluator(tiny, task, close_margin=1e9) for task in instances]
    found = together(JointEvaluator(evaluators), instances, {"base": None})
    plain = {
        outcome.instance_id: outcome
        for task in instances
        for one in [evaluator(tiny, task, engine="plain")]
        for outcome in outcomes_of(one, one.prepare(instances[task]))
    }
    for (_, name), outcome in found.items():
        assert outcome.close_call
        assert outcome.prediction == plain[name].prediction


def test_what_cannot_be_measured_together(tiny, grouped):
    vqa = evaluator(tiny, "vqa")
    with pytest.raises(ValueError, match="retrieval cannot be measured jointly"):
        JointEvaluator([vqa, evaluator(tiny, "retrieval")])
    with pytest.raises(ValueError, match="plain path measures no tasks jointly"):
        JointEvaluator([vqa, evaluator(tiny, "caption", engine="plain")])
    with pytest.raises(ValueError, match="one model and one image folder"):
        JointEvaluator([vqa, evaluator(grouped, "caption")])
