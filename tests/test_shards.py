"""Several jobs for one measurement: the same chunks, and in the end the same bytes."""

from dataclasses import replace

import pytest
from model_support import make_instances
from resume_support import JOBS

from hones_core import artifacts
from hones_core.artifacts import ArtifactError
from hones_core.attribution.neuron_effects import gaussian_noise, measure_neuron_effects
from hones_core.schemas.neurons import NEURON_EFFECTS
from hones_core.shards import (
    heads_of_shard,
    join_head_shards,
    join_shards,
    shard_of,
    shard_provenance,
)

pytest_plugins = ["model_fixtures"]

COUNTS = [1, 2, 3, 5, 9]


@pytest.mark.parametrize("count", COUNTS)
def test_every_chunk_is_in_one_shard(count):
    chunks = [[10 * chunk + item for item in range(3)] for chunk in range(5)]
    shares = [shard_of(chunks, (index, count)) for index in range(count)]
    items = [item for chunk in chunks for item in chunk]
    assert [item for share in shares for item in share] == items
    sizes = [len(share) // 3 for share in shares]
    assert max(sizes) - min(sizes) <= 1
    with pytest.raises(ValueError, match=f"shard {count} of {count} does not exist"):
        shard_of(chunks, (count, count))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("task", ["vqa", "retrieval"])
def test_a_share_has_the_chunks_of_the_whole(tiny, count, task):
    evaluator = tiny.evaluator(task, 2)
    instances = [
        replace(one, instance_id=f"{split}{one.instance_id}", split=split)
        for split in ("development", "test")
        for one in make_instances(task, 5)
    ]
    chunks = evaluator.chunks(instances)
    shares = [shard_of(chunks, (index, count)) for index in range(count)]
    assert [chunk for share in shares for chunk in evaluator.chunks(share)] == chunks


MADE_BY = {"rule": "measure", "wildcards": {"task": "ocr"}, "code": {"a.py": "1"}}


def write_shards(folder, job: str, evaluator, instances, count: int, made_by=MADE_BY):
    """The artifacts of all jobs; returns their paths and schema."""
    chunks = evaluator.chunks(instances)
    ids = [[one.instance_id for one in chunk] for chunk in chunks]
    paths = [folder / f"{count}.{index}" for index in range(count)]
    for index, path in enumerate(paths):
        wildcards = {"task": "ocr", "shard": str(index)}
        frame, schema = JOBS[job](evaluator, shard_of(chunks, (index, count)), None)
        whole = {**made_by, "wildcards": wildcards}
        artifacts.write(path, frame, schema, shard_provenance(whole, ids, (index, count)))
    return paths, schema


@pytest.mark.parametrize("job", ["heads", "masking"])
def test_joined_shards_have_the_bytes_of_one_job(tiny, tmp_path, job):
    evaluator = tiny.evaluator("ocr", 2)
    instances = make_instances("ocr", 7)
    frame, schema = JOBS[job](evaluator, instances, None)
    whole = shard_provenance(MADE_BY, [], (0, 1))
    artifacts.write(tmp_path / "whole", frame, schema, whole)
    for count in (2, 5):  # five: the first share is empty
        paths, _ = write_shards(tmp_path, job, evaluator, instances, count)
        joined, made_by = join_shards(paths, schema)
        artifacts.write(tmp_path / "joined", joined, schema, made_by)
        assert (tmp_path / "joined").read_bytes() == (tmp_path / "whole").read_bytes()


def test_shards_of_different_code_are_refused(tiny, tmp_path):
    evaluator, instances = tiny.evaluator("ocr", 2), make_instances("ocr", 4)
    paths, schema = write_shards(tmp_path, "masking", evaluator, instances, 2)
    (tmp_path / "new").mkdir()
    changed = MADE_BY | {"code": {"a.py": "2"}}
    others, _ = write_shards(tmp_path / "new", "masking", evaluator, instances, 2, changed)
    with pytest.raises(ArtifactError, match="not made by the same code"):
        join_shards([paths[0], others[1]], schema)


def test_jobs_with_other_batches_are_refused(tiny, tmp_path):
    """A job that plans smaller batches has other blocks: an instance would be lost or be double."""
    instances = make_instances("ocr", 7)
    paths, schema = write_shards(tmp_path, "masking", tiny.evaluator("ocr", 2), instances, 2)
    (tmp_path / "new").mkdir()
    smaller = tiny.evaluator("ocr", 1)
    others, _ = write_shards(tmp_path / "new", "masking", smaller, instances, 2)
    with pytest.raises(ArtifactError, match="divided the instances differently: set batch_size"):
        join_shards([paths[0], others[1]], schema)
    with pytest.raises(ArtifactError, match="not every shard is there once"):
        join_shards([paths[1], paths[0]], schema)


PLACES = [(0, 1), (1, 3), (0, 3), (1, 0)]


@pytest.mark.parametrize("count", COUNTS)
def test_every_head_is_in_one_shard_with_all_of_its_layer(count):
    places = [(layer, head) for head in (3, 1) for layer in (5, 0, 7)] + [(2, 2)]
    shares = [heads_of_shard(places, 8, (index, count)) for index in range(count)]
    assert sorted(place for share in shares for place in share) == sorted(places)
    for share in shares:
        assert share == [place for place in places if place in share]
    layers = [{layer for layer, _ in share} for share in shares]
    assert sum(map(len, layers)) == 4
    with pytest.raises(ValueError, match=f"shard {count} of {count} does not exist"):
        heads_of_shard(places, 8, (count, count))


def test_the_costliest_layers_are_divided_first():
    """Heads of layer 0 of 8 cost eight layers each, those of layer 7 one."""
    places = [(0, 0), (0, 1), (1, 0), (3, 0), (7, 0), (7, 1)]
    assert heads_of_shard(places, 8, (0, 2)) == [(0, 0), (0, 1)]
    assert heads_of_shard(places, 8, (1, 2)) == [(1, 0), (3, 0), (7, 0), (7, 1)]


def write_head_shards(folder, evaluator, instances, count: int, disruption=None):
    """The artifacts of all jobs that share the heads; returns their paths."""
    chunks = [[one.instance_id for one in some] for some in evaluator.prompt_chunks(instances)]
    paths = [folder / f"{count}.{index}" for index in range(count)]
    for index, path in enumerate(paths):
        shard = index, count
        own = heads_of_shard(PLACES, evaluator.adapter.n_layers, shard)
        frame = measure_neuron_effects(evaluator, instances, instances, own, disruption=disruption)
        made_by = {**MADE_BY, "wildcards": {"task": "ocr", "shard": str(index)}}
        made_by = shard_provenance(made_by, chunks, shard, PLACES)
        artifacts.write(path, frame, NEURON_EFFECTS, made_by)
    return paths


@pytest.mark.parametrize("disruption", [None, gaussian_noise()], ids=["mean", "noise"])
@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_joined_shards_of_heads_have_the_bytes_of_one_job(tiny, tmp_path, engine, disruption):
    evaluator = tiny.evaluator("ocr", 2, engine=engine)
    instances = make_instances("ocr", 5)
    frame = measure_neuron_effects(evaluator, instances, instances, PLACES, disruption=disruption)
    assert set(zip(frame["head_layer"], frame["head"], strict=True)) == {(-1, -1), *PLACES}
    whole = tmp_path / "whole"
    artifacts.write(whole, frame, NEURON_EFFECTS, MADE_BY)
    for count in (2, 5):  # five: more jobs than layers, so some have no head
        paths = write_head_shards(tmp_path, evaluator, instances, count, disruption)
        joined, made_by = join_head_shards(paths, NEURON_EFFECTS)
        artifacts.write(tmp_path / "joined", joined, NEURON_EFFECTS, made_by)
        assert (tmp_path / "joined").read_bytes() == whole.read_bytes()


def test_shards_of_heads_whose_base_runs_differ_are_refused(tiny, tmp_path):
    evaluator, instances = tiny.evaluator("ocr", 2), make_instances("ocr", 4)
    paths = write_head_shards(tmp_path, evaluator, instances, 2)
    frame = artifacts.read(paths[1], NEURON_EFFECTS)
    base = frame["head_layer"] == -1
    frame.loc[base, "contribution"] = frame.loc[base, "contribution"].map(lambda x: x * (1 + 1e-15))
    made_by = artifacts.provenance(paths[1])
    artifacts.write(paths[1], frame, NEURON_EFFECTS, made_by)
    said = f"{paths[1]} and {paths[0]} differ in the run that disturbs no head"
    with pytest.raises(ArtifactError, match=said):
        join_head_shards(paths, NEURON_EFFECTS)


def test_shards_of_other_heads_are_refused(tiny, tmp_path):
    """A head could be lost or be double where the ranking changed in between."""
    instances = make_instances("ocr", 4)
    paths = write_head_shards(tmp_path, tiny.evaluator("ocr", 2), instances, 2)
    made_by = artifacts.provenance(paths[1])
    ids = [[one.instance_id for one in instances]]
    other = shard_provenance(made_by, ids, (1, 2), PLACES[1:])
    artifacts.write(paths[1], artifacts.read(paths[1], NEURON_EFFECTS), NEURON_EFFECTS, other)
    with pytest.raises(ArtifactError, match="divided the instances differently"):
        join_head_shards(paths, NEURON_EFFECTS)
