"""Several jobs for one measurement: the same chunks, and in the end the same bytes."""

from dataclasses import replace

import pytest
from model_support import make_instances
from resume_support import JOBS

from hones_core import artifacts
from hones_core.artifacts import ArtifactError
from hones_core.shards import join_shards, shard_of, shard_provenance

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
