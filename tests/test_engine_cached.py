"""Training from cached states: losses, gradients and logits are those of whole forward passes."""

from dataclasses import replace

import pytest
import torch
from engine_support import Jointly, hooks_of
from model_support import make_instances, outcomes_of

from hones_core.engine.cached import CachedTargets
from hones_core.engine.interventions import NEURONS, Change, ScaleNeurons, applied, at_positions
from hones_core.engine.plain import force, forced_logits
from hones_core.models import load_model
from hones_core.steering.bank import Bank
from hones_core.steering.examples import Example
from hones_core.steering.training import Training, cached_targets, learn_scales, loss_terms

pytest_plugins = ["model_fixtures"]

TASKS = ("vqa", "caption", "retrieval")


def examples_of(task: str) -> list[Example]:
    """Prompts and targets of different lengths; retrieval asks twice about one image."""
    instances = make_instances(task, 4)
    if task == "retrieval":
        asked = zip(instances, ("Yes", "No", "No", "Yes"), strict=True)
        found = [Example(item, word, item.candidates[1]) for item, word in asked]
        return [*found, Example(instances[0], "No", instances[0].candidates[3])]
    return [Example(item, item.references[0]) for item in instances]


def bank_from(first: int, n_layers: int) -> Bank:
    """A bank whose lowest layer is `first` and whose highest is the model's."""
    return Bank(frozenset((layer, neuron) for layer in range(first, n_layers) for neuron in (2, 9)))


def terms_and_gradients(evaluator, bank, examples, cache) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scales = torch.randn(len(bank.neurons), generator=generator).requires_grad_()
    found = []
    for term in loss_terms(evaluator, bank, scales, examples, cache):
        (gradient,) = torch.autograd.grad(term, scales, retain_graph=True)
        found += [term.detach(), gradient]
    return found


def assert_equal_terms(found, expected) -> None:
    """To 1e-5 of the largest entry; a KL near 0 is a difference of sums that are not that small."""
    for part, reference in zip(found, expected, strict=True):
        assert reference.abs().max() > 1e-3
        assert (part - reference).abs().max() <= 1e-5 * max(reference.abs().max(), 0.1)


@pytest.mark.parametrize("task", TASKS)
def test_losses_and_gradients_from_any_first_layer(family, task):
    """The top layer, which is traced at the reads only, among them."""
    evaluator = family.evaluator(task)
    examples = examples_of(task)
    n_layers = family.adapter.n_layers
    for first in range(n_layers):
        bank = bank_from(first, n_layers)
        cache = cached_targets(evaluator, bank)
        expected = terms_and_gradients(evaluator, bank, examples, None)
        assert_equal_terms(terms_and_gradients(evaluator, bank, examples, cache), expected)


def test_a_batch_of_examples_cached_in_others(family):
    """Rows computed in batches of other widths, some of them before, in another order."""
    evaluator = family.evaluator("caption")
    examples = examples_of("caption")
    n_layers = family.adapter.n_layers
    for first in (0, n_layers - 1):
        bank = bank_from(first, n_layers)
        cache = cached_targets(evaluator, bank)
        for batch in ([examples[2]], [examples[1], examples[3]], examples[::-1], examples[:1]):
            expected = terms_and_gradients(evaluator, bank, batch, None)
            assert_equal_terms(terms_and_gradients(evaluator, bank, batch, cache), expected)


def test_each_example_is_computed_once(tiny):
    """One prompt with two targets is two examples; what is asked again is not encoded again."""
    evaluator, asked = tiny.evaluator("vqa"), []
    one, two = make_instances("vqa")[:2]

    def encode(names):
        asked.extend(names)
        return evaluator.encode(names)

    cache = CachedTargets(tiny.adapter, 1, encode)
    cache.batch([(one, [5, 6]), (two, [7])])
    cache.batch([(two, [7]), (one, [5]), (one, [5, 6])])
    assert asked == [one, two, one]


def test_logits_equal_those_of_whole_passes(family):
    """The student's and the teacher's, at every target token."""
    evaluator, adapter = family.evaluator("vqa"), family.adapter
    instances = make_instances("vqa")
    targets = [[5, 9, 30, 8], [11], [40, 41]]
    for first in range(adapter.n_layers):
        cache = CachedTargets(adapter, first, evaluator.encode)
        scaled = ScaleNeurons({first: (torch.tensor([1, 5]), torch.tensor([3.0, -2.0]))})
        with torch.no_grad():
            batch = cache.batch(list(zip(instances, targets, strict=True)))
            forced = force(adapter, evaluator.encode(instances), targets)
            teacher = forced_logits(adapter, forced)
            with applied(adapter, scaled):
                student, expected = cache.logits(batch), forced_logits(adapter, forced)
        mask = forced.target_mask
        assert torch.equal(batch.target_mask, mask)
        assert torch.equal(batch.target_ids[mask], forced.target_ids[mask])
        torch.testing.assert_close(student[mask], expected[mask], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            cache.teacher_logits(batch)[mask], teacher[mask], atol=1e-5, rtol=1e-5
        )
        assert not torch.allclose(student[mask], teacher[mask], atol=1e-2)


class LastZero:
    """A neuron set to zero where the answer is given."""

    def __init__(self, layer: int):
        self.layer = layer

    def changes(self, _adapter):
        def change(z, answering):
            return at_positions(z.index_fill(-1, torch.tensor([3]), 0), z, "last", answering)

        yield Change(self.layer, NEURONS, change)


def test_answer_positions_are_known_in_the_first_layer_too(family):
    """An intervention at the answer's positions, in each layer that is run."""
    evaluator, adapter = family.evaluator("vqa"), family.adapter
    instances, targets = make_instances("vqa"), [[5, 9, 30, 8], [11], [40, 41]]
    hooks = hooks_of(adapter)
    for first in range(adapter.n_layers):
        cache = CachedTargets(adapter, first, evaluator.encode)
        last = Jointly(tuple(LastZero(layer) for layer in range(first, adapter.n_layers)))
        with torch.no_grad():
            batch = cache.batch(list(zip(instances, targets, strict=True)))
            forced = force(adapter, evaluator.encode(instances), targets)
            with applied(adapter, last):
                found, expected = cache.logits(batch), forced_logits(adapter, forced)
        mask = forced.target_mask
        torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)
    assert hooks_of(adapter) == hooks


def test_learning_is_the_same_on_both_engines(family):
    instances = make_instances("caption", 4)
    bank = bank_from(1, family.adapter.n_layers)
    training = Training(learning_rate=0.05, epochs=2, batch_size=2)
    found = {
        engine: learn_scales(family.evaluator("caption", engine=engine), instances, bank, training)
        for engine in ("fast", "plain")
    }
    assert found["fast"][0] == pytest.approx(found["plain"][0], abs=1e-4)
    for column in ("cross_entropy", "kl", "max_abs_scale"):
        expected = found["plain"][1][column].tolist()
        assert found["fast"][1][column].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_half_precision_learns_after_it_predicted(tiny, engine):
    """What inference keeps of a model in half precision serves training as well."""
    adapter = load_model(str(tiny.folder), "llava", "bfloat16", "cpu")
    evaluator = replace(tiny, adapter=adapter).evaluator("vqa", engine=engine)
    instances = make_instances("vqa")
    outcomes_of(evaluator, evaluator.prepare(instances))
    training = Training(learning_rate=0.05, epochs=2, batch_size=3)
    scales, curve = learn_scales(evaluator, instances, bank_from(1, 2), training)
    assert max(abs(scale) for scale in scales) > 0.01
    assert curve["cross_entropy"].iloc[1] < curve["cross_entropy"].iloc[0]
