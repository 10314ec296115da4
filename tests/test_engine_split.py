"""A model whose layers lie on several devices: the same numbers, and no forgotten move.

This machine has one device. Accelerate's hooks run all the same, and tensors pretend to lie on
several GPUs (`device_support`): an operation that mixes two of them fails as it would there.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import pandas as pd
import pytest
import torch
from device_support import MixedDevicesError, PretendedDevices, pretend, pretended_devices
from engine_support import ENGINES, hooks_of, small_limits, watched
from model_support import make_instances, outcomes_of
from transformers import AutoConfig

from hones_core.attribution.activations import measure_activations
from hones_core.attribution.neuron_effects import gaussian_noise, measure_neuron_effects
from hones_core.attribution.token_level.dla import measure_dla
from hones_core.attribution.token_level.group_patching import measure_group_patching
from hones_core.attribution.token_level.llm_knowledge import measure_llm_knowledge
from hones_core.attribution.token_level.qrnca import measure_qrnca
from hones_core.engine import free_memory, replay
from hones_core.engine.device import DeviceFacts, look, together
from hones_core.engine.interventions import MeanReplaceHead, ScaleNeurons, ZeroNeurons
from hones_core.engine.joint import JointEvaluator
from hones_core.engine.selfcheck import check_model
from hones_core.logit_lens import NORMS, measure_logit_lens
from hones_core.models import load_model
from hones_core.models.adapter import Adapter, ModelError
from hones_core.models.loading import FAMILIES, computing_names
from hones_core.models.split import Place, device_map, gpus
from hones_core.steering.bank import Bank
from hones_core.steering.prediction import predict_steered
from hones_core.steering.training import Training, learn_scales
from hones_core.tasks import TASKS

pytest_plugins = ["model_fixtures"]

CPU = torch.device("cpu")
ONE_CPU_AS_TWO = [Place(CPU, 10**9)] * 2
GPU = [torch.device("cuda", index) for index in range(4)]
ORDERED, SCATTERED = "ordered", "scattered"
INTERVENTIONS = {
    "base": None,
    "low head": MeanReplaceHead(0, 1),
    "top head, last": MeanReplaceHead(1, 2, "last"),
    "mask": ZeroNeurons.of([(0, 3), (1, 4), (1, 5)]),
    "scaled": ScaleNeurons({1: (torch.tensor([2, 9]), torch.tensor([1.5, -2.0]))}),
}


def places_of(adapter: Adapter, kind: str) -> dict[str, int]:
    """Number of the GPU of each module: in the order of use, or each layer far from the last."""
    numbers = [0, 0, 1, 1] if kind == ORDERED else [1, 0, 3, 2]
    front, embedding, norm, head = numbers
    places = {"model": front, "model.language_model": norm, "lm_head": head}
    places["model.language_model.embed_tokens"] = embedding
    for index in range(adapter.n_layers):
        place = index * 2 // adapter.n_layers if kind == ORDERED else (index + 1) % 3
        places[f"model.language_model.layers.{index}"] = place
    return places


@pytest.fixture(scope="module", params=[ORDERED, SCATTERED])
def split(request, family):
    """The checkpoint, and itself loaded with accelerate's hooks, on pretended GPUs."""
    adapter = load_split(family)
    pretend(adapter, places_of(adapter, request.param))
    return family, replace(family, adapter=adapter)


def load_split(models) -> Adapter:
    name = models.adapter.family
    return load_model(str(models.folder), name, device="split", places=ONE_CPU_AS_TWO)


def assert_same(split, run: Callable) -> PretendedDevices:
    """What `run` gives for the split model equals, to the last bit, what it gives for the whole."""
    whole, divided = split
    with pretended_devices() as mode:
        found = run(divided)
    expected = run(whole)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    else:
        assert repr(found) == repr(expected)  # of NaN as well
    assert mode.moves
    return mode


# --- the same numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", TASKS)
def test_outcomes(split, task, engine):
    def run(models):
        evaluator = watched(models, task, engine, limits=small_limits())
        prepared = evaluator.prepare(make_instances(task))
        return evaluator.outcomes_under(prepared, INTERVENTIONS)

    assert_same(split, run)


def test_close_calls(split):
    def run(models):
        evaluator = watched(models, "retrieval", close_margin=1e9, limits=small_limits())
        return evaluator.outcomes_under(
            evaluator.prepare(make_instances("retrieval")), INTERVENTIONS
        )

    assert_same(split, run)


def test_joint_tasks(split):
    def run(models):
        joint = JointEvaluator([models.evaluator(task) for task in ("vqa", "caption")])
        instances = make_instances("vqa") + make_instances("caption")
        return joint.outcomes_under(joint.prepare(instances), INTERVENTIONS)

    assert_same(split, run)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("disruption", [None, gaussian_noise("last", seed=3)])
def test_neuron_effects(split, engine, disruption):
    def run(models):
        instances = make_instances("vqa")
        evaluator = watched(models, "vqa", engine, limits=small_limits())
        heads = [(0, 1), (1, 0)]
        return measure_neuron_effects(evaluator, instances, instances, heads, disruption=disruption)

    assert_same(split, run)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("first", [0, 1])
def test_steering(split, engine, first):
    """Two steps of learning, from a bank that begins in the first layer or in the second."""
    bank = Bank(frozenset([(first, 2), (1, 3), (1, 11)]))

    def run(models):
        evaluator, instances = watched(models, "vqa", engine), make_instances("vqa")
        return learn_scales(evaluator, instances, bank, Training(epochs=2, batch_size=3))

    assert_same(split, run)


def test_steered_predictions(split):
    scales = Bank(frozenset([(0, 2), (1, 3)])).frame("hones", [0.5, -1.2])
    assert_same(
        split, lambda models: predict_steered(watched(models, "vqa"), make_instances("vqa"), scales)
    )


@pytest.mark.parametrize(
    "measure",
    [
        measure_activations,
        measure_dla,
        measure_llm_knowledge,
        lambda *given: measure_qrnca(*given, steps=2),
        lambda *given: measure_group_patching(*given, groups_per_layer=3),
    ],
)
def test_other_measurements(split, measure):
    assert_same(split, lambda models: measure(watched(models, "vqa"), make_instances("vqa")))


@pytest.mark.parametrize("norm", NORMS)
def test_logit_lens(split, norm):
    sets = {"dominant": ("vqa+ocr", frozenset([(0, 2), (1, 3)])), "specific": ("vqa", frozenset())}

    def run(models):
        return pd.concat(
            measure_logit_lens(watched(models, "vqa"), make_instances("vqa"), sets, norm)
        )

    assert_same(split, run)


def test_the_check_of_the_model(split):
    assert_same(split, lambda models: check_model(models.adapter))


# --- forgotten moves are found -------------------------------------------------------------------


def ask(models, task: str, intervention) -> None:
    evaluator = watched(models, task, limits=small_limits())
    outcomes_of(evaluator, evaluator.prepare(make_instances(task)), intervention)


@pytest.fixture
def divided(tiny):
    adapter = load_split(tiny)
    pretend(adapter, places_of(adapter, ORDERED))
    return replace(tiny, adapter=adapter)


def test_an_engine_that_moves_nothing(divided):
    def stay(adapter, index, segments, hidden):
        return list(segments), list(hidden)

    with mock.patch.object(replay, "_on_layer", stay), pretended_devices():
        for task in TASKS:
            with pytest.raises(MixedDevicesError):
                ask(divided, task, None)


def test_an_intervention_that_stays_where_inputs_go(divided):
    wrong = mock.patch.object(Adapter, "layer_device", lambda self, index: self.device)
    changes = list(ZeroNeurons.of([(1, 3)]).changes(divided.adapter))
    with pretended_devices():
        ask(divided, "vqa", ZeroNeurons.of([(1, 3)]))
        with wrong:
            changes = list(ZeroNeurons.of([(1, 3)]).changes(divided.adapter))
        kept = mock.Mock(changes=lambda _adapter: iter(changes))
        with pytest.raises(MixedDevicesError):
            ask(divided, "vqa", kept)


def test_logits_of_states_elsewhere(divided):
    adapter = divided.adapter
    with pretended_devices():
        states = torch.zeros(2, adapter.unembedding.shape[1], device=GPU[0])
        assert adapter.logits(states).device == GPU[1]
        with pytest.raises(MixedDevicesError):
            states @ adapter.unembedding.T


def test_what_pretended_devices_know():
    with pretended_devices() as mode:
        one, other = torch.ones(3, device=GPU[1]), torch.ones(3, device="cuda:2")
        assert (one.device, other[1:].device, torch.ones(2).device) == (GPU[1], GPU[2], CPU)
        assert (one * torch.tensor(2.0)).device == one.new_zeros(2).device == GPU[1]
        assert one.to(GPU[1]) is one and mode.moves == 0
        assert (one + other.to(one.device)).tolist() == [2, 2, 2] and mode.moves == 1
        for mixed in (
            lambda: one + other,
            lambda: torch.cat([one, one.cpu()]),
            lambda: one[other > 0],
        ):
            with pytest.raises(MixedDevicesError):
                mixed()


# --- one device, and what is left behind ---------------------------------------------------------


def test_one_device_moves_and_copies_nothing(tiny):
    evaluator = watched(tiny, "vqa", limits=small_limits())
    with pretended_devices() as mode:
        traced = evaluator.prepare(make_instances("vqa")).parts[0].traced.traced
        moved, states = replay._on_layer(tiny.adapter, 1, traced.segments, traced.final)
        assert mode.moves == 0
    assert moved[0] is traced.segments[0] and states[0] is traced.final[0]
    assert tiny.adapter.devices == [CPU]


class Broken(Exception):
    """What a test raises inside a layer."""


@pytest.mark.parametrize("task", ["vqa", "retrieval"])
def test_hooks_stay_as_they_were(divided, task):
    adapter = divided.adapter

    def state() -> tuple:
        modules = list(adapter.model.modules())
        return hooks_of(adapter), [id(getattr(one, "_hf_hook", None)) for one in modules]

    def fail(_module, _args):
        raise Broken

    with pretended_devices():
        ask(divided, task, MeanReplaceHead(0, 1))
        before = state()
        handle = adapter.layers[1].mlp.register_forward_pre_hook(fail)
        with pytest.raises(Broken):
            ask(divided, task, MeanReplaceHead(0, 1))
        handle.remove()
        assert state() == before and adapter.answer_positions is None
        ask(divided, task, MeanReplaceHead(0, 1))


# --- loading -------------------------------------------------------------------------------------


def map_of(models, dtype=torch.float32, free: int | None = None, n: int = 3) -> dict[str, str]:
    """The device map of a checkpoint on `n` GPUs, by default each as large as the model."""
    if free is None:
        free = sum(one.numel() * one.element_size() for one in models.adapter.model.parameters())
    config = AutoConfig.from_pretrained(models.folder)
    model_class = FAMILIES[models.adapter.family]()[0]
    return device_map(model_class, config, dtype, [Place(device, free) for device in GPU[:n]])


def test_modules_are_placed_in_their_order(family):
    where = map_of(family)
    names = [name for name, _ in family.adapter.model.named_parameters()]
    used = [max((one for one in where if n.startswith(one)), key=len) for n in names]
    devices = [where[one] for one in used]
    assert set(devices) == {"cuda:0", "cuda:1", "cuda:2"}
    assert devices == sorted(devices)
    tower = [d for n, d in zip(names, devices, strict=True) if "language_model" not in n]
    assert tower[0] == "cuda:0" and where["lm_head"] == "cuda:2"
    assert not any(".layers." in one and one.count(".") > 3 for one in where)  # none is cut
    assert set(map_of(family, free=10**6, n=1).values()) == {"cuda:0"}


def test_too_little_room_on_all_gpus(tiny):
    with pytest.raises(ModelError) as error:
        map_of(tiny, free=20_000, n=2)
    text = str(error.value)
    assert "the weights need 0.000209 GB; 2e-05 GB on cuda:0, 2e-05 GB on cuda:1 are free" in text
    assert "GB are missing. Nothing is left to main memory or disk" in text


@pytest.mark.skipif(bool(gpus()), reason="this machine has GPUs")
def test_no_gpu_at_all(tiny):
    with pytest.raises(ModelError, match="among GPUs, but torch sees none here"):
        load_model(str(tiny.folder), "llava", device="split")
    assert look("split").driver and computing_names("split") == ""


def test_a_single_place_is_the_plain_case(tiny):
    adapter = load_model(str(tiny.folder), "llava", device="split", places=ONE_CPU_AS_TWO[:1])
    assert not any(hasattr(module, "_hf_hook") for module in adapter.model.modules())


def test_several_places_have_hooks_and_the_same_weights(family):
    adapter = load_split(family)
    assert all(hasattr(layer, "_hf_hook") for layer in adapter.layers)
    theirs = dict(family.adapter.model.named_parameters())
    for name, parameter in adapter.model.named_parameters():
        assert torch.equal(parameter, theirs[name])


# --- memory --------------------------------------------------------------------------------------


def test_the_device_that_fills_first_bounds_the_plan(monkeypatch):
    """Ten layers, seven of them on the second GPU."""
    free = {GPU[0]: 30 * 10**9, GPU[1]: 20 * 10**9}
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: free[device])
    adapter = mock.Mock(n_layers=10, dtype=torch.float16)
    adapter.layer_device = lambda index: GPU[index >= 3]
    adapter.unembedding = mock.Mock(device=GPU[1])
    adapter.unembedding.numel.return_value = 10**9  # 4 GB in float32
    assert free_memory.usable_for_layers(adapter) == pytest.approx(0.9 * 16e9 * 10 / 7, abs=10)
    adapter.layer_device = lambda index: GPU[1]
    assert free_memory.usable_for_layers(adapter) == free_memory.usable_bytes(GPU[1], 4 * 10**9)


def test_facts_of_several_gpus():
    first = DeviceFacts("A", (9, 0), ("sm_70", "sm_90"), 80 * 10**9)
    second = replace(copy.copy(first), name="B", capability=(7, 0), free_bytes=30 * 10**9)
    found = together([first, second])
    assert (found.name, found.capability, found.free_bytes) == ("A + B", (7, 0), 60 * 10**9)
    assert together([first, DeviceFacts("", driver="lost")]).driver == "lost"
