"""Several jobs for one measurement: the same chunks, and in the end the same bytes."""

from dataclasses import replace

import pytest
from model_support import make_instances
from resume_support import JOBS

from hones_core import artifacts
from hones_core.artifacts import ArtifactError
from hones_core.shards import join_shards, shard_of

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


def provenance(**wildcards) -> dict:
    return {"rule": "measure", "wildcards": {"task": "ocr", **wildcards}, "code": {"a.py": "1"}}


@pytest.mark.parametrize("job", ["heads", "masking"])
def test_joined_shards_have_the_bytes_of_one_job(tiny, tmp_path, job):
    evaluator = tiny.evaluator("ocr", 2)
    instances = make_instances("ocr", 7)
    frame, schema = JOBS[job](evaluator, instances, None)
    artifacts.write(tmp_path / "whole", frame, schema, provenance())
    for count in (2, 5):  # five: the first share is empty
        paths = [tmp_path / f"{count}.{index}" for index in range(count)]
        for index, path in enumerate(paths):
            share = shard_of(evaluator.chunks(instances), (index, count))
            frame, schema = JOBS[job](evaluator, share, None)
            artifacts.write(path, frame, schema, provenance(shard=str(index)))
        joined, made_by = join_shards(paths, schema)
        artifacts.write(tmp_path / "joined", joined, schema, made_by)
        assert (tmp_path / "joined").read_bytes() == (tmp_path / "whole").read_bytes()


def test_shards_of_different_code_are_refused(tiny, tmp_path):
    frame, schema = JOBS["masking"](tiny.evaluator("ocr", 2), make_instances("ocr", 2), None)
    for index in range(2):
        made_by = provenance(shard=str(index)) | {"code": {"a.py": str(index)}}
        artifacts.write(tmp_path / str(index), frame, schema, made_by)
    with pytest.raises(ArtifactError, match="not made by the same code"):
        join_shards([tmp_path / "0", tmp_path / "1"], schema)
