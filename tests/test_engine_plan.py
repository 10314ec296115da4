"""The plan's formulas against what is really allocated, and its figures against known ones."""

import json
import weakref
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import takewhile
from types import SimpleNamespace

import pytest
import torch
from model_support import make_instances, make_tiny
from torch import is_tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hones_core.attribution.activations import measure_activations
from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.attribution.token_level.dla import measure_dla
from hones_core.attribution.token_level.llm_knowledge import measure_llm_knowledge
from hones_core.engine import budget, free_memory, sizing
from hones_core.engine.activations import last_token_activations
from hones_core.engine.at_once import Limits
from hones_core.engine.budget import ANSWERS, CANDIDATES, PROMPTS, Sizes
from hones_core.engine.decode import Waiting, _Rows
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.fast_rankings import trace_candidates
from hones_core.engine.interventions import MeanReplaceHead, recorded_activations
from hones_core.engine.joint import JointEvaluator
from hones_core.engine.lengths import Lengths, measured
from hones_core.engine.replay import Trace, replay, trace
from hones_core.engine.segments import answer_segment, grow
from hones_core.engine.shapes import KNOWN_CONFIGS, image_tokens, shape_from_config, shape_of

pytest_plugins = ["model_fixtures"]

LLAVA, QWEN = "llava-hf/llava-1.5-7b-hf", "Qwen/Qwen2.5-VL-7B-Instruct"


@pytest.fixture(params=["tiny", "grouped"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Six layers of 256 neurons: a model of which the layers, not the images, need the memory."""
    return make_tiny(tmp_path_factory.mktemp("wide"), layers=6, neurons=256)


def size(*tensors: torch.Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def traced_bytes(traced: Trace, place: int) -> int:
    """Bytes of one segment's part of a trace."""
    total = 0 if traced.final[place] is None else size(traced.final[place])
    for layer in traced.layers:
        own = layer[place]
        states = [part for part in (own.heads, own.middle) if part is not None]
        total += size(*states, *own.keys_values)
    return total


@pytest.fixture
def answers(model):
    """Three prompts with a tree of four nodes each, and their trace."""
    evaluator = model.evaluator("vqa")
    with torch.inference_mode():
        batch = evaluator.encode(make_instances("vqa", 3))
        trees = [grow([[5, 6, 7], [5, 8]]) for _ in range(3)]
        segment = answer_segment(model.adapter, batch, trees)
        return SimpleNamespace(batch=batch, segment=segment, traced=trace(model.adapter, [segment]))


def test_a_trace_is_as_large_as_the_formula_says(model, answers):
    shape, columns = shape_of(model.adapter), answers.segment.real.shape[1]
    assert traced_bytes(answers.traced, 0) == 3 * budget.trace_bytes(shape, columns, reads=5)
    segment = answers.segment
    found = size(segment.embeddings, segment.mask, *segment.rotary)
    assert found == 3 * budget.segment_bytes(shape, columns, columns)


def test_keys_and_values_of_trace_and_replay(model, answers):
    shape, columns = shape_of(model.adapter), answers.segment.real.shape[1]
    kept = size(*(part for layer in answers.traced.layers for part in layer[0].keys_values))
    assert kept == 3 * budget.keys_values_bytes(shape, columns, shape.layers)
    changes = [list(MeanReplaceHead(0, head).changes(model.adapter)) for head in (0, 1)]
    with torch.inference_mode():
        run = replay(model.adapter, answers.traced, changes)
    found = size(*(part for layer in run.keys_values.values() for part in layer[0]))
    assert found == 2 * 3 * budget.keys_values_bytes(shape, columns, shape.layers - 1)


def test_rows_of_the_decode_pool(model, answers):
    adapter, shape, room = model.adapter, shape_of(model.adapter), 5
    columns = answers.segment.real.shape[1]
    waiting = Waiting(
        [0, 1, 2],
        [],
        [layer[0].keys_values for layer in answers.traced.layers],
        answers.segment.real,
        torch.tensor([7, 8, 9]),
        torch.tensor([20, 20, 20]),
        torch.full((3,), room),
    )
    waits = size(*(part for pair in waiting.keys_values for part in pair))
    assert waits == 3 * budget.keys_values_bytes(shape, columns, shape.layers)
    rows = _Rows(adapter, [waiting])
    assert waiting.keys_values == [None] * shape.layers, "the copied rows are let go"
    cached = size(*(part for cache in rows.caches for part in (cache.keys, cache.values)))
    assert cached == 3 * budget.keys_values_bytes(shape, columns + room, shape.layers)
    assert 3 * budget.pool_bytes(shape, columns, room) > cached + waits


def test_a_query_s_prefix_and_candidates(model):
    """The formula of `candidates_peak` takes equally long rows, as these are."""
    adapter, shape = model.adapter, shape_of(model.adapter)
    evaluator = model.evaluator("retrieval")
    with torch.inference_mode():
        batch = evaluator.encode(make_instances("retrieval", 1))
        suffixes = [[start, start + 1, start + 2] for start in range(10, 16)]
        limits = Limits(candidate_rows=2)
        traced = trace_candidates(adapter, batch, [suffixes], [0], (5, 6), limits).traced
    prefix = batch.input_ids.shape[1]
    assert traced_bytes(traced, 0) == budget.trace_bytes(shape, prefix, reads=0)
    assert traced_bytes(traced, 1) == 2 * budget.trace_bytes(shape, columns := 9, reads=3)
    segment = traced.segments[1]
    found = size(segment.embeddings, segment.mask, *segment.rotary)
    assert found == 2 * budget.segment_bytes(shape, columns, prefix + columns)


@pytest.mark.parametrize(("samples", "copies"), [(1, 1), (4, 3)])
def test_the_peak_of_neuron_effects(wide, samples, copies):
    evaluator = Evaluator(wide.adapter, "vqa", wide.images, 64, limits=Limits(copies))
    instances = make_instances("vqa", samples)
    lengths = measured(evaluator, instances)
    expected = budget.prompts_peak(shape_of(wide.adapter), lengths, Sizes(samples, copies))
    with Alive() as alive:
        heads = [(0, head) for head in range(4)]
        measure_neuron_effects(evaluator, instances, instances, heads)
    assert 0.3 * expected < alive.peak < expected


LAST_POSITION = {
    "engine.activations": lambda evaluator, instances: last_token_activations(
        evaluator.adapter, evaluator.encode(instances)
    ),
    "attribution.activations": partial(measure_activations, aggregate="last"),
    "attribution.token_level.dla": measure_dla,
    "attribution.token_level.llm_knowledge": measure_llm_knowledge,
}


@pytest.mark.parametrize("place", LAST_POSITION)
def test_of_the_last_position_nothing_else_is_kept(tiny, monkeypatch, place):
    kept = []

    @contextmanager
    def watched(*arguments):
        with recorded_activations(*arguments) as records:
            yield records
        kept.extend(records)

    monkeypatch.setattr(f"hones_core.{place}.recorded_activations", watched)
    LAST_POSITION[place](tiny.evaluator("vqa"), make_instances("vqa", 2))
    assert len(kept) == tiny.adapter.n_layers
    assert [one.untyped_storage().nbytes() for one in kept] == [size(one) for one in kept]


AT_ONCE = [(1, 1, 1), (4, 2, 3), (2, 4, 16)]


class Alive(TorchDispatchMode):
    """The largest number of bytes of tensors, made while it is on, that are alive at once."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known: dict[int, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if is_tensor(t)}
        made = function(*args, **(kwargs or {}))
        for tensor in filter(is_tensor, tree_leaves(made)):
            storage = tensor.untyped_storage()
            if storage._cdata in given or storage._cdata in self.known:
                continue
            self.known[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, storage._cdata)
        return made

    def _gone(self, key: int) -> None:
        self.now -= self.known.pop(key, 0)


@pytest.mark.parametrize(
    ("task", "samples", "copies", "decoded"),
    [(task, *many) for task in ("caption", "retrieval") for many in AT_ONCE]
    + [("vqa+caption", *AT_ONCE[-1])],
)
def test_the_peak_is_an_upper_bound_and_no_wild_one(wide, task, samples, copies, decoded):
    """Of all tensors that a chunk needs beside the model, under every head of the first layer."""
    tasks = task.split("+")
    instances = [one for own in tasks for one in make_instances(own, samples)]
    work = CANDIDATES if task == "retrieval" else ANSWERS
    limits = Limits(copies, decoded, candidate_rows=3)
    evaluators = [Evaluator(wide.adapter, own, wide.images, 64, 12, limits=limits) for own in tasks]
    evaluator = evaluators[0] if len(tasks) == 1 else JointEvaluator(evaluators)
    lengths = evaluator.lengths(instances)
    expected = budget.PEAKS[work](
        shape_of(wide.adapter), lengths, Sizes(samples, copies, decoded, 3)
    )
    heads = {head: MeanReplaceHead(0, head) for head in range(4)}
    with Alive() as alive:
        evaluator.outcomes_under(evaluator.prepare(instances), heads)
    assert 0.3 * expected < alive.peak < expected


def test_autograd_keeps_no_more_than_the_formula_says(model):
    """Of a layer's columns in a steering step, without a bank in it."""
    adapter, shape, columns = model.adapter, shape_of(model.adapter), 40
    weights = {p.untyped_storage().data_ptr() for p in adapter.model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    hidden = torch.randn(1, columns, shape.width, requires_grad=True)
    mask = torch.ones(1, 1, columns, columns, dtype=torch.bool).tril()
    rotary = adapter.rotary(hidden, torch.arange(columns)[None, None].expand(1, 1, -1))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        adapter.layers[0](hidden, attention_mask=mask, position_embeddings=rotary)
    found = sum(nbytes for nbytes, _ in kept.values()) / columns
    token = 16 * shape.ffn + 8 * shape.width + 16 * shape.attention  # the bank's 4 m included
    per_pair = size(mask, *rotary) / columns + 4 * columns + 4 * shape.heads
    assert 0.7 * token < found < token + per_pair


def test_the_shape_of_a_loaded_model_is_that_of_its_config(model):
    config = json.loads((model.folder / "config.json").read_text())
    ours, expected = shape_of(model.adapter), shape_from_config(config, "float32")
    assert replace(ours, vision=0) == replace(expected, vision=0)
    weights = sum(p.numel() * 4 for p in model.stock.parameters())
    assert weights == pytest.approx(ours.weight_bytes, rel=0.02)  # norms are not counted


@pytest.mark.parametrize(
    ("name", "billions", "neurons"),
    [
        (LLAVA, 7.06, 352_256),
        ("llava-hf/llava-1.5-13b-hf", 13.35, 552_960),
        (QWEN, 8.29, 530_432),
        ("Qwen/Qwen2.5-VL-3B-Instruct", 3.75, 396_288),
    ],
)
def test_sizes_of_known_checkpoints(name, billions, neurons):
    shape = shape_from_config(KNOWN_CONFIGS[name], "float32")
    assert shape.weight_bytes / 4e9 == pytest.approx(billions, rel=0.01)
    assert shape.layers * shape.ffn == neurons


def test_figures_of_a_7b_model():
    """A prompt of 605 tokens: 317 MB of trace and as much of keys and values."""
    shape = shape_from_config(KNOWN_CONFIGS[LLAVA], "float16")
    kept = budget.keys_values_bytes(shape, 605, shape.layers)
    assert kept / 1e6 == pytest.approx(317, abs=1)
    states = budget.trace_bytes(shape, 605, 1) - kept
    assert states / 1e6 == pytest.approx(317 * 31 / 32, abs=1)  # at the top only what is read
    tree = 10 * budget.trace_bytes(shape, 5 * 25, 5)  # 50 candidates of 25 tokens in ten rows
    assert tree / 1e9 == pytest.approx(1.3, abs=0.05)
    assert image_tokens(KNOWN_CONFIGS[LLAVA]) == (576, 576)
    assert image_tokens(KNOWN_CONFIGS[QWEN]) == (391, 529)


LENGTHS = {
    ANSWERS: Lengths(605, 24, 5),
    CANDIDATES: Lengths(620, 1, 1, 50, 35),
    PROMPTS: Lengths(605, 1, 1),
}


@pytest.mark.parametrize("work", LENGTHS)
@pytest.mark.parametrize("name", [LLAVA, QWEN])
def test_chosen_sizes_fit_and_grow_with_memory(work, name):
    shape = shape_from_config(KNOWN_CONFIGS[name], "float16")
    found = []
    for free in (2e9, 6e9, 15e9, 60e9, 600e9):
        chosen = sizing.choose(
            shape, work, LENGTHS[work], int(free), {"candidate_rows": 10}, "cuda"
        )
        smallest = chosen.sizes == Sizes()
        assert chosen.peak <= free or smallest
        found.append(chosen.sizes)
    products = [one.samples * one.copies * one.decode_rows for one in found]
    assert products == sorted(products) and products[0] < products[-1]
    assert found[-1].samples > 1


def test_given_sizes_are_kept():
    shape = shape_from_config(KNOWN_CONFIGS[LLAVA], "float16")
    given = sizing.given_sizes(ANSWERS, 3, None, 5, 10)
    chosen = sizing.choose(shape, ANSWERS, LENGTHS[ANSWERS], 10**11, given, "cuda")
    assert (chosen.sizes.samples, chosen.sizes.decode_rows) == (3, 5)
    assert chosen.sizes.copies > 1
    line = sizing.describe(chosen, ANSWERS, given, LENGTHS[ANSWERS])
    assert "3 samples (given), " in line and "5 decoded rows (given)" in line
    assert "it may not fit" in sizing.describe(
        replace(chosen, free=1), ANSWERS, given, LENGTHS[ANSWERS]
    )
    assert sizing.given_sizes(CANDIDATES, 64, 1, 256, 10)["samples"] == 6


@pytest.mark.parametrize("task", ["vqa", "caption", "retrieval"])
def test_measured_lengths(tiny, task):
    evaluator = tiny.evaluator(task)
    instances = make_instances(task, 3)
    lengths = measured(evaluator, instances)
    if task == "retrieval":
        texts = [evaluator.text(one, text) for one in instances for text in one.candidates]
        images = [one.image for one in instances for _ in one.candidates]
        assert lengths.candidates == 6
        tokenised = [
            [
                tiny.adapter.tokenizer(evaluator.text(one, text))["input_ids"]
                for text in one.candidates
            ]
            for one in instances
        ]
        own = []
        for rows in tokenised:
            places = zip(*rows, strict=False)
            shared = list(takewhile(lambda tokens: len(set(tokens)) == 1, places))
            own.append(max(map(len, rows)) - len(shared))
        assert 8 < lengths.suffix == max(own) < lengths.prompt
    else:
        texts, images = [evaluator.text(one) for one in instances], [i.image for i in instances]
        targets = [len(ids) for one in instances for ids in evaluator.target_ids(one)]
        assert (lengths.answer, lengths.target) == (6, max(targets))
    pairs = zip(images, texts, strict=True)
    assert lengths.prompt == max(tiny.inputs(*pair)["input_ids"].shape[1] for pair in pairs)


def test_measured_lengths_of_joint_tasks(tiny):
    """A joint row is as long, and as much of it is read, as if its drafts had all their tokens.

    A draft and a target that begin alike share a column, which the plan does not know.
    """
    joint = JointEvaluator([tiny.evaluator(task) for task in ("vqa", "caption")])
    captions = [
        replace(one, references=5 * one.references[:1]) for one in make_instances("caption")
    ]
    found = []
    for image in zip(make_instances("vqa"), captions, strict=True):
        lengths = joint.lengths(image)
        (part,) = joint.prepare(image).parts
        segment = part.traced.traced.segments[0]
        missing = sum(6 - len(draft) for draft in part.traced.drafts)
        assert 0 <= lengths.columns - segment.real.shape[1] - missing <= 2
        assert 0 <= 1 + lengths.nodes - segment.read_columns.shape[1] - missing <= 2
        found.append(lengths)
    largest = joint.lengths([*make_instances("vqa"), *captions])
    assert largest.columns >= max(one.columns for one in found)
    assert largest.nodes == max(one.nodes for one in found)


@pytest.mark.parametrize("task", ["vqa", "retrieval"])
@pytest.mark.parametrize("answered", [True, False])
def test_planning_an_evaluator(tiny, capsys, task, answered):
    evaluator = Evaluator(tiny.adapter, task, tiny.images, 1, limits=Limits(candidate_rows=3))
    instances = make_instances(task, 3)
    free_memory.plan_evaluator(evaluator, instances, answered, None, 2, None)
    said = capsys.readouterr().err
    assert said.startswith("memory plan: ") and said.count("\n") == 1
    assert evaluator.limits.copies == 2 and "2 interventions (given)" in said
    assert evaluator.batch_size > 1
    chunks = evaluator.chunks(instances) if answered else evaluator.prompt_chunks(instances)
    assert len(chunks) == (2 if answered and task == "retrieval" else 1)
    free_memory.plan_evaluator(evaluator, instances, answered, 5, 3, 7)
    assert (evaluator.batch_size, evaluator.limits) == (5, Limits(3, 7, 3))
    assert capsys.readouterr().err == ""  # nothing was left to plan
