"""The configuration: all is refused before any job starts.

Single values are shown to the planner, which reads the configuration as Snakemake does and needs a
tenth of the time; what hangs on files and sections is a dry run.
"""

from case import Catalogue
from commands import dry_run, tool
from study import OVERLAY

from hones_core.engine import plan

CONFIG = Catalogue("config")
FILES = "config.yaml + "  # the error names the files that were read
PLAN = tool(plan.main, "--config", OVERLAY, "mine.yaml")
TINY = {"name": "tiny", "path": "model", "revision": None, "family": "llava"}
TINY |= {"dtype": "float32", "device": "cpu", "batch_size": 4, "top_heads": 2, "compare_with": None}


def laid_over(name: str, values: dict | str | bytes, *says: str, command=PLAN) -> None:
    """A case of a file that the user lays over the configuration."""
    CONFIG.add(name, command, lambda study: study.overlay(values), *says)


def model(**values) -> dict:
    return {"models": [{**TINY, **values}]}


laid_over(
    "unknown key",
    {"masking": {"top_ration": 0.02}},
    FILES,
    "mine.yaml",
    "masking.top_ration: unknown key; did you mean 'top_ratio'?",
    command=dry_run(),
)
laid_over("unknown section", {"maskin": {"top_ratio": 0.02}}, "maskin: unknown key", "'masking'")
laid_over(
    "a text in place of a number",
    {"steering": {"epochs": "many"}},
    "steering.epochs: Input should be a valid integer (given: 'many')",
)
laid_over(
    "yes in place of a number",
    "benchmark: {splits: {test: yes}}",
    "benchmark.splits.test: Input should be a valid integer (given: True)",
)
laid_over(
    "a fraction in place of a number",
    {"heads": {"budgets": [1.5]}},
    "heads.budgets.0: Input should be a valid integer",
)
laid_over(
    "out of range",
    {"masking": {"top_ratio": 1.5}},
    "masking.top_ratio: Input should be less than or equal to 1 (given: 1.5)",
)
laid_over(
    "an infinite number",
    "steering: {learning_rate: .inf}",
    "steering.learning_rate: Input should be a finite number (given: inf)",
)
laid_over(
    "a value in place of a section",
    {"masking": 3},
    "masking: Input should be a section",
    command=dry_run(),
)
laid_over(
    "an emptied section",
    "masking:\n",
    "masking: Input should be a section",
    "given: None",
    command=dry_run(),
)
laid_over("a text in place of a list", {"tasks": "vqa"}, "tasks: Input should be a list")
laid_over(
    "no models",
    {"models": []},
    "models: List should have at least 1 item, not 0",
    command=dry_run(),
)
laid_over("models missing", {"models": None}, "models: Input should be a list (given: None)")
laid_over(
    "a model without path",
    {"models": [{"name": "tiny"}]},
    "models.0.path: Field required",
    "models.0.family: Field required",
)
laid_over(
    "two models of one name",
    {"models": [TINY, TINY]},
    "two models have the same name",
    "'tiny'",
    command=dry_run(),
)
laid_over("unknown family", model(family="blip"), "models.0.family: Input should be 'llava'")
laid_over("unknown device", model(device="gpu"), "models.0.device: a device is auto, cpu, cuda")
laid_over("unknown dtype", model(dtype="int8"), "models.0.dtype", "'float16'", "given: 'int8'")
laid_over(
    "a model of the paper that it does not have",
    model(compare_with="llava-1.5-70b"),
    "models.0.compare_with: Input should be 'llava-1.5-7b'",
)
laid_over(
    "bounds of images for a model that has none",
    model(max_pixels=1280),
    "models.0: llava has images of one size",
    "leave min_pixels and max_pixels out",
)
laid_over("a path that is empty", {"data": {"captions": ""}}, "data.captions: String should match")
laid_over(
    "a run name that leaves results/",
    {"run_name": ".."},
    "run_name: String should match",
    command=dry_run(),
)
laid_over("a seed that no generator takes", {"seed": 2**40}, "seed: Input should be less than")
laid_over("a negative seed", {"seed": -1}, "seed: Input should be greater than or equal to 0")
laid_over(
    "unknown ranker",
    {"neurons": {"rankers": ["hones", "best"]}},
    "neurons.rankers.1: Input should be 'hones'",
    "given: 'best'",
)
laid_over(
    "rankers without the one that makes the groups",
    {"neurons": {"rankers": ["ma", "random"]}},
    "neurons.rankers: hones is missing, whose neurons make the groups; add it",
    command=dry_run(),
)
laid_over(
    "a model's rankers without the one that makes the groups",
    model(rankers=["ma"]),
    "models.0.rankers: hones is missing",
    "add it, or set rankers to null",
)
laid_over("a value twice", {"masking": {"ratios": [0.1, 0.1]}}, "masking.ratios: a value is listed")
laid_over(
    "a key twice",
    "seed: 1\nmasking: {shards: 1}\nseed: 2\n",
    "mine.yaml: seed stands in lines 1 and 3",
    "keep one of them",
    command=dry_run(),
)
laid_over(
    "more samples than images",
    {"heads": {"samples": {"vqa": 96}}},
    "heads.samples.vqa: 96 are asked for, but benchmark.splits.discovery is 4",
    "lower the one or raise the other",
    command=dry_run(),
)
laid_over(
    "more samples than queries",
    {"neurons": {"samples": {"retrieval": 3}}},
    "neurons.samples.retrieval: 3 are asked for",
    "benchmark.retrieval.n_queries.discovery is 2",
)
laid_over(
    "shards of a job that takes all tasks",
    {"heads": {"shards": 2}},
    "heads.shards divides a task's job: set jobs to per_task with it",
    command=dry_run(),
)
laid_over(
    "screening with joint tasks",
    {
        "heads": {
            "joint_tasks": ["vqa", "caption"],
            "screening": {"rule": "successive_elimination", "z": 3},
        }
    },
    "heads: joint_tasks is empty or [vqa, caption], without screening",
)
laid_over(
    "generated scenes over the user's files",
    {"data": {"toy_scenes": {"n_images": 4, "seed": 0}}},
    "data: generated scenes would be written over data",
    "set toy_scenes to null",
    command=dry_run(),
)
laid_over(
    "a key that is no text", "3: 4\n", "3: Keys should be strings (given: 3)", command=dry_run()
)
# The next ones are Snakemake's own, before it reads the workflow; it does not name the file.
laid_over(
    "not YAML",
    "masking:\n  top_ratio: [0.1\n",
    "Config file is not valid JSON or YAML",
    command=dry_run(),
)
laid_over(
    "no keys at top level",
    "- vqa\n- ocr\n",
    "must be given as JSON or YAML with keys at top",
    command=dry_run(),
)
laid_over(
    "an empty file", "", "must be given as JSON or YAML with keys at top level", command=dry_run()
)
laid_over(
    "not UTF-8",
    b"seed: 1 # \xff\n",
    "UnicodeDecodeError",
    "can't decode byte 0xff",
    command=dry_run(),
)


@CONFIG.case("a Python object in YAML", dry_run(), "Config file is not valid JSON or YAML")
def _python_object(study):
    """The study's artifacts are compared afterwards: the command would have removed them."""
    return study.overlay('seed: !!python/object/apply:os.system ["rm -r results"]\n')


@CONFIG.case(
    "a Python object in the planner's YAML",
    tool(plan.main, "--config", "mine.yaml"),
    "no plan: mine.yaml is not YAML",
    "line 1, column 7",
    "correct the file",
)
def _python_object_planned(study):
    study.overlay('seed: !!python/object/apply:os.system ["rm -r results"]\n')


@CONFIG.case(
    "the planner's file is not UTF-8",
    tool(plan.main, "--config", "mine.yaml"),
    "no plan: mine.yaml is not YAML",
    "0xff",
    "correct the file",
)
def _planner_not_utf8(study):
    study.overlay(b"seed: 1 # \xff\n")


@CONFIG.case("a file that is not there", dry_run(), "No such file or directory", "none.yaml")
def _missing_file(study):
    return ["none.yaml"]


@CONFIG.case(
    "the default configuration is broken", dry_run(), "line ", "config.yaml is not valid YAML"
)
def _broken_default(study):
    path = study.path("config.yaml")
    path.write_text(path.read_text() + "\nmasking: [\n")


@CONFIG.case("the default configuration lacks a key", dry_run(), "steering.epochs: Field required")
def _missing_key(study):
    path = study.path("config.yaml")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("  epochs:")))


@CONFIG.case("an unknown target", dry_run("results/study/nothing.parquet"), "No rule to produce")
def _unknown_target(study):
    return None
