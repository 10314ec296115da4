"""The preflight: what it says of memory, disk, the model and all together; a job's own look."""

import runpy
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from model_support import make_tiny
from preflight_support import CPU, H100, ROOT, SINGLE, V100, settings_of
from safetensors.torch import load_file, save_file
from workflow_support import copy_project, snakemake, write_config

from hones_core import artifacts, preflight
from hones_core.engine.device import DeviceFacts
from hones_core.engine.plan import read_settings
from hones_core.engine.ready import require_ready
from hones_core.findings import FAILED, OK, SKIPPED, WARNING, Finding, failures
from hones_core.models import checkpoint as checkpoints
from hones_core.models.adapter import ModelError
from hones_core.schemas.preflight import PREFLIGHT
from hones_core.settings import load_settings, plain
from workflow_scripts.model_step import open_evaluator

pytest_plugins = ["model_fixtures", "preflight_fixtures"]

# --- memory and disk ----------------------------------------------------------------------------


def memory_of(settings, facts: DeviceFacts) -> Finding:
    [model] = settings.models
    return preflight.check_memory(settings, model, checkpoints.find_checkpoint(model.path), facts)


def paper_model(**changes):
    """LLaVA-1.5-7B by its id, whose sizes are known without files."""
    values = {"dtype": "float16", "device": "cuda", "batch_size": None} | changes
    return settings_of("llava-hf/llava-1.5-7b-hf", **values)


def test_enough_memory(folder, cache):
    assert memory_of(settings_of(folder), CPU).status == OK
    assert memory_of(paper_model(batch_size=1), H100).status == OK


def test_weights_that_do_not_fit(cache):
    found = memory_of(paper_model(), replace(V100, free_bytes=10 * 10**9))
    assert found.status == FAILED
    assert "the weights need 1" in found.detail and "10.0 GB are free" in found.detail
    assert "more memory" in found.remedy


def test_a_stage_that_does_not_fit(cache):
    weights = preflight.shape_from_config(
        preflight.projection.checkpoint_config("llava-hf/llava-1.5-7b-hf"), "float16"
    ).weight_bytes
    found = memory_of(paper_model(), replace(V100, free_bytes=weights + 10**8))
    assert found.status == FAILED
    assert "even one at a time, " in found.detail and "max_pixels" in found.remedy


def test_a_batch_that_is_too_large(cache):
    """Every stage runs again with less."""
    found = memory_of(paper_model(batch_size=256), H100)
    assert found.status == WARNING
    assert "base of caption needs up to" in found.detail and "batch_size" in found.remedy
    settings = paper_model()
    many = settings.engine.model_copy(update={"decode_rows": 4096})
    found = memory_of(settings.model_copy(update={"engine": many}), H100)
    assert found.status == WARNING
    assert "GB with the weights" in found.detail and "decode_rows null" in found.remedy


def test_steering_qwen_takes_fewer_prompts_at_a_time_on_a_v100(cache):
    """As docs/running-at-scale.md says of the paper's configuration."""
    settings = read_settings(str(ROOT / "config.yaml"), [str(ROOT / "configs/paper.yaml")])
    for model, status in zip(settings.models, (OK, WARNING), strict=True):
        alone = settings.model_copy(update={"models": (model,)})
        found = memory_of(alone, V100)
        assert found.status == status, model.name
    assert found.detail.startswith("steering of") and "steering.batch_size" in found.remedy


def test_memory_is_not_judged_without_a_device_or_sizes(folder, cache):
    assert memory_of(settings_of(folder), DeviceFacts("", driver="none")).status == SKIPPED
    found = memory_of(settings_of("someone/else"), CPU)
    assert found.status == SKIPPED and "sizes" in found.detail
    (folder / "config.json").write_text('{"text_config": {}}')
    assert memory_of(settings_of(folder), CPU).status == SKIPPED


def test_disk(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = settings_of(folder)
    total, unknown = preflight.expected_bytes(settings)
    assert not unknown
    seen = []

    def with_free(n: int) -> Finding:
        return preflight.check_disk(settings, lambda path: seen.append(path) or n)

    assert with_free(3 * total).status == OK
    assert with_free(total + 1).status == WARNING
    found = with_free(total - 1)
    assert (found.status, found.model) == (FAILED, "")
    assert "will be written" in found.detail and "results/toy" in found.remedy
    assert set(seen) == {tmp_path}  # the nearest folder that is there


def test_expected_bytes_by_hand(folder):
    """2 layers of 4 heads and 24 neurons, as the docstring says."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["models"] = [config["models"][0] | {"path": str(folder), "top_heads": 3}]
    config["tasks"] = ["vqa"]
    config["neurons"]["rankers"] = ["hones", "random"]
    total, _ = preflight.expected_bytes(load_settings(config))
    heads = 2 * (1 + 2 * 4) * 96 * 20
    neurons = (1 + 3) * 2 * 24 * 20
    rankings = (1 + config["neurons"]["random_seeds"]) * 2 * 24 * 12
    assert total == 420 * 5 * 1700 + heads + neurons + rankings


def test_disk_without_known_sizes(cache):
    found = preflight.check_disk(settings_of("someone/else"), lambda path: 10**15)
    assert found.status == WARNING and "without llava, whose sizes" in found.detail


# --- the model, and all together ----------------------------------------------------------------


def found_of(settings, facts: DeviceFacts) -> dict[str, Finding]:
    [model] = settings.models
    return {row.check: row for row in preflight.check_one_model(settings, model, facts)}


@pytest.mark.parametrize(("kind", "family"), [("tiny", "llava"), ("tiny_qwen", "qwen2_5_vl")])
def test_a_model_that_can_run(request, kind, family):
    folder = request.getfixturevalue(kind).folder
    found = found_of(settings_of(folder, family, batch_size=None), CPU)
    assert {row.status for row in found.values()} == {OK}, found
    assert "one image and" in found["self-check"].detail


def test_a_model_that_is_not_loaded(folder, cache):
    found = found_of(settings_of(folder, device="cuda"), DeviceFacts("", driver="no driver"))
    assert found["self-check"].status == SKIPPED
    assert found["self-check"].detail == "not loaded because of: device, memory"
    (folder / SINGLE).write_bytes(b"")
    found = found_of(settings_of(folder), CPU)
    assert found["self-check"].detail == "not loaded because of: weights"
    assert "weights" in found_of(settings_of("someone/model"), CPU)["self-check"].detail


def test_a_model_that_misbehaves(tmp_path):
    bad = make_tiny(tmp_path).folder
    tensors = load_file(bad / SINGLE)
    tensors["lm_head.weight" if "lm_head.weight" in tensors else max(tensors)].fill_(float("nan"))
    save_file(tensors, bad / SINGLE, {"format": "pt"})
    found = found_of(settings_of(bad), CPU)["self-check"]
    assert found.status == FAILED and "NaN" in found.detail


def test_missing_data_are_named(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = preflight.preflight(settings_of(folder), lambda device: CPU, lambda path: 10**12)
    data = [row for row in rows if row.check == "data"]
    assert {row.status for row in data} == {FAILED}
    assert any("captions: file: No such file" in row.detail for row in data)
    assert all("docs/data.md" in row.remedy for row in data)
    sets = [row.detail for row in data if "ood_group_drop" in row.detail]
    assert [row.split(":")[0] for row in sets] == [
        "gqa.questions",
        "textvqa.questions",
        "flickr30k.captions",
    ]
    frame = preflight.table(rows)
    assert frame["row"].tolist() == list(range(len(rows)))
    assert len(failures(rows)) == len(data)


# --- at the start of a job ----------------------------------------------------------------------


def test_a_job_refuses_before_it_loads(folder):
    (folder / SINGLE).write_bytes((folder / SINGLE).read_bytes()[:-5])
    with pytest.raises(ModelError, match=r"weights: .*header promises.*Remove the damaged file"):
        require_ready(str(folder), "llava", "float32", "cpu", None)
    with pytest.raises(ModelError, match=r"device: cuda:99 cannot be used"):
        require_ready(str(folder), "llava", "float32", "cuda:99", None)


def test_a_job_asks_when_it_opens_its_model(folder):
    (folder / SINGLE).write_bytes(b"")
    model = settings_of(folder).models[0].model_dump()
    unused = ("name", "top_heads", "compare_with")
    cfg = {"model": {key: value for key, value in model.items() if key not in unused}}
    job = SimpleNamespace(params=SimpleNamespace(cfg=cfg), threads=1)
    with pytest.raises(ModelError, match=r"cannot be run here: weights: model\.safetensors has 0"):
        open_evaluator(job, "vqa")


def test_a_job_is_not_held_up():
    model = str(ROOT / "resources" / "toy" / "llava")
    times = []
    for _ in range(5):
        start = time.process_time()
        require_ready(model, "llava", "float32", "cpu", None)
        times.append(time.process_time() - start)
    assert min(times) < 0.05


class Params(dict):
    """Snakemake's params: by attribute and by items."""

    __getattr__ = dict.__getitem__


def test_the_script_stops_behind_its_table(folder, tmp_path, monkeypatch):
    """Without data; the table is written first."""
    monkeypatch.chdir(tmp_path)
    params = Params(cfg=plain(settings_of(folder)), table="tables/preflight", code={}, env={})
    job = SimpleNamespace(
        rule="preflight", log=["log"], threads=1, wildcards=Params(), params=params
    )
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "workflow_scripts/preflight.py"), {"snakemake": job})
    statuses = artifacts.read("tables/preflight.parquet", PREFLIGHT)["status"]
    assert (statuses == FAILED).any()
    assert "preflight stopped:" in Path("log").read_text().splitlines()[-1]
    assert "| data |  | failed |" in Path("tables/preflight.md").read_text()


def test_the_workflow_ends_well_on_the_toy(tmp_path):
    project = copy_project(tmp_path)
    small = {"data": {"toy_scenes": {"n_images": 12}}, "ood": {"toy_scenes": {"n_images": 12}}}
    write_config(project, "small.yaml", small)
    done = snakemake(project, "preflight", "--cores", "1", "--configfile", "small.yaml")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    rows = artifacts.read(project / "results/toy/tables/preflight.parquet", PREFLIGHT)
    assert set(rows["status"]) == {OK}
    assert "| self-check | llava | ok | one image and" in said
