"""A job that takes several tasks looks to its script like one job a task."""

from types import SimpleNamespace

from workflow_scripts.step import provenance
from workflow_scripts.task_jobs import Named, jobs_of, task_jobs


class Listed(list):
    """Paths with names, as Snakemake gives them."""

    def __init__(self, **named):
        super().__init__()
        self.named = named
        for paths in named.values():
            self.extend([paths] if isinstance(paths, str) else paths)

    def items(self):
        return self.named.items()


def job_of(tasks, **files):
    inputs = Listed(**files)
    inputs.insert(0, "model.safetensors")
    return SimpleNamespace(
        rule="predict_base",
        threads=1,
        wildcards=Named(model="llava", **({"task": tasks[0]} if len(tasks) == 1 else {})),
        input=inputs,
        output=Listed(**{f"base_{task}": f"{task}.parquet" for task in tasks}),
        params=Named(
            cfg={task: {"samples": task} for task in tasks},
            code={"shared": {"a.py": "1"}} | {task: {f"{task}.py": "2"} for task in tasks},
            env={"torch": "2"},
            shards=1,
        ),
    )


FILES = {
    "images_vqa": "photographs",
    "instances_vqa": "vqa.in",
    "images_ocr": ["boxes/0", "boxes/1"],
    "instances_ocr": "ocr.in",
    "images_caption": "photographs",
    "instances_caption": "caption.in",
}


def test_each_task_sees_its_own_files_by_their_plain_names_and_what_has_no_name():
    found = list(task_jobs(job_of(["vqa", "ocr", "caption"], **FILES)))
    assert [one.wildcards.task for one in found] == ["vqa", "ocr", "caption"]
    vqa, ocr, caption = found
    assert list(ocr.input) == ["model.safetensors", "boxes/0", "boxes/1", "ocr.in"]
    assert ocr.input.images == ["boxes/0", "boxes/1"] and ocr.input.instances == "ocr.in"
    assert "photographs" in vqa.input and "photographs" in caption.input
    assert (vqa.output[0], caption.output.base) == ("vqa.parquet", "caption.parquet")


def test_provenance_is_that_of_a_job_of_one_task():
    own = {name: path for name, path in FILES.items() if name.endswith("_ocr")}
    (alone,) = task_jobs(job_of(["ocr"], **own))
    among = list(task_jobs(job_of(["vqa", "ocr", "caption"], **FILES)))[1]
    assert provenance(alone) == provenance(among)
    assert list(alone.input) == list(among.input) and list(alone.output) == list(among.output)
    assert provenance(among)["code"] == {"a.py": "1", "ocr.py": "2"}
    assert among.params.get("shards") == 1 and among.wildcards.get("shard", 0) == 0


def test_other_wildcards_than_tasks():
    job = job_of(["gqa", "textvqa"])
    assert [one.wildcards.ood_set for one in jobs_of(job, "ood_set")] == ["gqa", "textvqa"]


def test_what_is_kept_for_a_new_start_stays_until_all_tasks_are_done():
    removed = []
    for one in task_jobs(job_of(["vqa", "ocr"])):
        one.at_end.append(lambda task=one.wildcards.task: removed.append(task))
        assert removed == []
    assert removed == ["vqa", "ocr"]
