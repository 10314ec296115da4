"""The preflight: every failure provoked on purpose, with what it says and what to do about it."""

import json
import runpy
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from model_support import make_tiny
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from workflow_support import copy_project, snakemake, write_config

from hones_core import artifacts, preflight
from hones_core.engine.device import DeviceFacts, check_device, has_code, look
from hones_core.engine.ready import require_ready
from hones_core.findings import FAILED, OK, SKIPPED, WARNING, Finding, failures
from hones_core.models import checkpoint as checkpoints
from hones_core.models.adapter import ModelError
from hones_core.models.checkpoint import DamagedFileError, check_checkpoint, read_header
from hones_core.schemas.preflight import PREFLIGHT
from hones_core.settings import load_settings, plain
from workflow_scripts.model_step import open_evaluator

pytest_plugins = ["model_fixtures"]

ROOT = Path(__file__).parent.parent
SINGLE, INDEX = checkpoints.SINGLE, checkpoints.INDEX
DEFAULT_WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
V100 = DeviceFacts("Tesla V100", (7, 0), ("sm_50", "sm_60", "sm_70", "sm_80"), 32 * 10**9)
H100 = DeviceFacts("H100", (9, 0), DEFAULT_WHEEL, 80 * 10**9)
CPU = DeviceFacts("cpu", free_bytes=32 * 10**9)


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tiny LLaVA, to be damaged."""
    return shutil.copytree(tiny.folder, tmp_path / "model")


@pytest.fixture
def qwen_folder(tiny_qwen, tmp_path):
    """A copy of the tiny Qwen2.5-VL, to be damaged."""
    return shutil.copytree(tiny_qwen.folder, tmp_path / "qwen")


@pytest.fixture
def sharded(folder):
    """The same weights in two shards with an index."""
    tensors = load_file(folder / SINGLE)
    (folder / SINGLE).unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard, {"format": "pt"})
        places |= dict.fromkeys(part, shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the hub, whose online state the test chooses."""
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


def settings_of(path, family: str = "llava", **changes):
    """The toy's configuration with the model at `path`."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["models"] = config["models"][:1]
    config["models"][0] |= {"path": str(path), "family": family, "device": "cpu"} | changes
    config["engine"]["decode_rows"] = None  # planned
    return load_settings(config)


def files(folder, family: str = "llava") -> dict[str, Finding]:
    """The findings about the files, by their check."""
    where = checkpoints.find_checkpoint(str(folder))
    return {row.check: row for row in check_checkpoint("m", family, where)}


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def overwrite(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> None:
    """A safetensors file with this header, which says that it is `length` bytes long."""
    length = len(header) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + header + data)


# --- devices ------------------------------------------------------------------------------------


def on(facts: DeviceFacts, dtype: str = "float16", device: str = "cuda") -> dict[str, Finding]:
    return {row.check: row for row in check_device("m", device, dtype, facts)}


def test_devices_that_fit():
    for facts in (V100, H100, CPU):
        assert {row.status for row in on(facts).values()} == {OK}
    assert "H100, 80.0 GB free" in on(H100)["device"].detail


def test_volta_with_the_default_wheel():
    found = on(replace(V100, arch_list=DEFAULT_WHEEL))["torch build"]
    assert found.status == FAILED
    assert found.detail.startswith("Tesla V100 is sm_70, but torch is built for sm_75, sm_80")
    assert "cu126 build of torch 2.13 or 2.14" in found.remedy
    assert "envs/requirements-v100.txt" in found.remedy


def test_another_gpu_without_code_names_no_volta():
    found = on(replace(H100, name="P100", capability=(6, 0)))["torch build"]
    assert found.status == FAILED and "sm_60" in found.detail
    assert "v100" not in found.remedy


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((8, 6), ("sm_80",), True),
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80",), False),
        ((9, 0), ("compute_80",), True),
        ((9, 0), ("compute_100",), False),
        ((10, 0), ("sm_90a",), False),
        ((9, 0), ("sm_90a",), True),
        ((10, 3), ("sm_100a",), False),
        ((10, 3), ("sm_100f",), True),
        ((12, 0), ("sm_120",), True),
        ((7, 0), ("gfx90a",), False),
    ],
)
def test_which_code_runs_where(capability, built_for, runs):
    assert has_code(capability, built_for) is runs


def test_a_build_that_says_nothing_is_not_judged():
    for built_for in ((), ("gfx90a",)):
        assert on(replace(H100, arch_list=built_for))["torch build"].status == SKIPPED


@pytest.mark.parametrize("facts", [V100, replace(H100, name="T4", capability=(7, 5))])
def test_bfloat16_where_there_is_none(facts):
    found = on(facts, "bfloat16")["dtype"]
    assert (found.status, found.remedy) == (FAILED, "Set the model's dtype to float16")
    assert facts.name in found.detail
    assert on(H100, "bfloat16")["dtype"].status == OK


def test_a_device_that_cannot_be_used():
    found = on(DeviceFacts("", driver="the driver is too old (found version 11040)"))
    assert list(found) == ["device"]
    assert found["device"].status == FAILED
    assert "cuda cannot be used: the driver is too old" in found["device"].detail
    assert "nvidia-smi" in found["device"].remedy


def test_auto_says_when_a_gpu_build_falls_back_to_the_cpu():
    found = on(replace(CPU, arch_list=DEFAULT_WHEEL), device="auto")["device"]
    assert found.status == WARNING and "sees none" in found.detail
    assert on(replace(CPU, arch_list=DEFAULT_WHEEL), device="cpu")["device"].status == OK


def test_looking_at_this_machine():
    cpu = look("cpu")
    assert cpu.name == "cpu" and cpu.capability is None and cpu.free_bytes > 0 and not cpu.driver
    assert "no device 'gpu'" in look("gpu").driver
    assert "neither cpu nor cuda" in look("meta").driver
    absent = look(f"cuda:{torch.cuda.device_count() + 7}")
    assert not absent.name and absent.driver


# --- files --------------------------------------------------------------------------------------


def test_whole_files(folder, sharded, qwen_folder, tiny):
    for path, family in ((tiny.folder, "llava"), (sharded, "llava"), (qwen_folder, "qwen2_5_vl")):
        assert {row.status for row in files(path, family).values()} == {OK}
    n_tensors = len(load_file(tiny.folder / SINGLE))
    assert files(sharded)["weights"].detail.startswith(f"{n_tensors} tensors in 2 files")


def test_missing_shard(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    found = files(sharded)["weights"]
    assert found.status == FAILED
    assert f"1 of 2 shards are missing from {sharded}: model-00002-of" in found.detail
    assert f"Copy the whole checkpoint to {sharded} again" in found.remedy


@pytest.mark.parametrize("change", [-1, -1000, 1])
def test_shard_of_another_length(sharded, change):
    shard = sharded / "model-00002-of-00002.safetensors"
    data = shard.read_bytes()
    shard.write_bytes(data[:change] if change < 0 else data + b"\0" * change)
    found = files(sharded)["weights"]
    assert found.status == FAILED
    promised = f"has {len(data) + change:,} bytes, its header promises {len(data):,}"
    assert f"{shard.name} {promised}" in found.detail
    assert "Remove the damaged file" in found.remedy


@pytest.mark.parametrize(
    ("header", "length", "says"),
    [
        (b"", 0, "not JSON"),
        (b"\xff\xfe garbage", None, "not JSON"),
        (b"[" * 100_000, None, "not JSON"),
        (b"[1, 2]", None, "does not list tensors"),
        (b'{"a": {"dtype": "F32"}}', None, "does not list tensors"),
        (b'{"a": {"data_offsets": [0, Infinity]}}', None, "does not list tensors"),
        (b"{}", 2**63, "cut off, or no safetensors file"),
        (b"{}", 1000, "cut off, or no safetensors file"),
    ],
)
def test_damaged_header(folder, header, length, says):
    overwrite(folder / SINGLE, header, length=length)
    found = files(folder)["weights"]
    assert found.status == FAILED
    assert SINGLE in found.detail and says in found.detail


def test_a_huge_header_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "LARGEST_HEADER", 100)
    with pytest.raises(DamagedFileError, match="its header would have"):
        read_header(folder / SINGLE)


@pytest.mark.parametrize("kept", [0, 7])
def test_almost_empty_file(folder, kept):
    (folder / SINGLE).write_bytes(b"\0" * kept)
    assert f"{SINGLE} has {kept} bytes" in files(folder)["weights"].detail


def test_a_tensor_that_its_shard_lacks(sharded):
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"]["model.lost"] = "model-00001-of-00002.safetensors"
    (sharded / INDEX).write_text(json.dumps(index))
    found = files(sharded)["weights"]
    assert found.status == FAILED and "lacks 1 tensors" in found.detail
    assert "model.lost" in found.detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"weight_map": ', "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no weight_map"),
        ('{"weight_map": {"a": "../other/model.safetensors"}}', "no file name"),
        ('{"weight_map": {"a": 3}}', "no file name"),
    ],
)
def test_damaged_index(sharded, text, says):
    (sharded / INDEX).write_text(text)
    found = files(sharded)["weights"]
    assert found.status == FAILED and INDEX in found.detail and says in found.detail


def test_pickled_weights_only(folder):
    (folder / SINGLE).unlink()
    for number in (1, 2):
        (folder / f"pytorch_model-0000{number}-of-00002.bin").write_bytes(b"pickle")
    found = files(folder)["weights"]
    assert found.status == FAILED
    assert "pickled weights only" in found.detail
    assert "pytorch_model-00001-of-00002.bin, pytorch_model-00002" in found.detail
    assert "Convert them to safetensors" in found.remedy


def test_no_weights_at_all(folder):
    (folder / SINGLE).unlink()
    found = files(folder)["weights"]
    assert found.status == FAILED and f"neither {SINGLE} nor {INDEX}" in found.detail


def test_wrong_architecture(folder):
    found = files(folder, "qwen2_5_vl")["config"]
    assert found.status == FAILED
    assert "family qwen2_5_vl needs Qwen2_5_VLForConditionalGeneration" in found.detail
    assert "LlavaForConditionalGeneration, whose family is llava" in found.detail
    assert "Set the model's family" in found.remedy
    for odd in (None, 3, []):
        edit_json(folder / "config.json", architectures=odd)
        assert files(folder)["config"].status == FAILED


def test_code_of_its_own(folder):
    edit_json(folder / "config.json", auto_map={"AutoModel": "modeling.Mine"})
    found = files(folder)["config"]
    assert found.status == WARNING and "never run" in found.detail
    edit_json(folder / "config.json", architectures=["Mine"])
    found = files(folder)["config"]
    assert found.status == FAILED
    assert "auto_map" in found.detail and "LlavaForConditionalGeneration" in found.remedy


@pytest.mark.parametrize("text", ['{"model_type": ', "[]", None])
def test_damaged_config(folder, text):
    config = folder / "config.json"
    config.unlink() if text is None else config.write_text(text)
    assert files(folder)["config"].status == FAILED
    assert "config.json" in files(folder)["config"].detail


def test_hub_id_without_cache(cache, monkeypatch):
    where = checkpoints.find_checkpoint("someone/model", "abc123")
    [found] = check_checkpoint("m", "llava", where)
    assert found.status == WARNING
    assert "someone/model" in found.detail and "offline mode is not set" in found.detail
    assert "hf download someone/model --revision abc123" in found.remedy
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_OFFLINE", True)
    [found] = check_checkpoint("m", "llava", checkpoints.find_checkpoint("someone/model"))
    assert found.status == FAILED
    assert "offline mode is set (HF_HUB_OFFLINE" in found.detail
    assert found.remedy.endswith("hf download someone/model")


def test_a_folder_that_is_not_there(tmp_path):
    [found] = check_checkpoint("m", "llava", checkpoints.find_checkpoint(str(tmp_path / "a/b")))
    assert found.status == FAILED and "there is no folder" in found.detail


def test_cached_snapshot(cache, sharded, monkeypatch):
    """Found by its revision; shards that are links into nothing are missing, not damaged."""
    snapshots = cache / "models--someone--model" / "snapshots"
    snapshots.mkdir(parents=True)
    shutil.copytree(sharded, snapshots / "abc123")
    where = checkpoints.find_checkpoint("someone/model", "abc123")
    assert where.folder == snapshots / "abc123"
    assert {row.status for row in check_checkpoint("m", "llava", where)} == {OK}
    shard = where.folder / "model-00002-of-00002.safetensors"
    shard.unlink()
    shard.symlink_to("../../blobs/nothing")
    assert check_checkpoint("m", "llava", where)[1].status == WARNING
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_OFFLINE", True)
    where = checkpoints.find_checkpoint("someone/model", "abc123")
    assert check_checkpoint("m", "llava", where)[1].status == FAILED


# --- tokenizer ----------------------------------------------------------------------------------


def tokenizer_of(folder, family: str = "llava", **changes) -> Finding:
    settings = settings_of(folder, family).model_copy(update=changes)
    [model] = settings.models
    return preflight.check_tokenizer(settings, model, checkpoints.find_checkpoint(str(folder)))


def test_tokenizers_that_fit(folder, qwen_folder):
    for path, family in ((folder, "llava"), (qwen_folder, "qwen2_5_vl")):
        found = tokenizer_of(path, family)
        assert found.status == OK, found
        assert "Yes is token" in found.detail


def test_tokenizer_without_chat_template(qwen_folder):
    (qwen_folder / "chat_template.jinja").unlink()
    found = tokenizer_of(qwen_folder, "qwen2_5_vl")
    assert found.status == FAILED and "chat template" in found.detail
    assert "chat_template.jinja" in found.remedy


def test_chat_template_without_image(qwen_folder):
    text = "{{ messages[0]['content'][1]['text'] }}\n"
    (qwen_folder / "chat_template.jinja").write_text(text)
    found = tokenizer_of(qwen_folder, "qwen2_5_vl")
    assert found.status == FAILED and "placeholder" in found.detail


def test_yes_and_no_that_share_an_id(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"String": "No"}, "content": "Yes"}
    path.write_text(json.dumps(content))
    found = tokenizer_of(folder)
    yes = AutoTokenizer.from_pretrained(folder)("USER: Yes")["input_ids"][-1]
    assert found.status == FAILED
    assert f"Yes and No begin with the same token ({yes})" in found.detail
    assert "retrieval" in found.remedy
    assert tokenizer_of(folder, tasks=("vqa",)).status == WARNING


def test_no_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert tokenizer_of(folder).status == FAILED


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
    assert " needs up to " in found.detail and "steering.batch_size" in found.remedy


def test_a_batch_that_is_too_large(cache):
    """Neuron effects are not run again with less; decoding is."""
    found = memory_of(paper_model(batch_size=256), H100)
    assert found.status == FAILED
    assert "neuron effects of" in found.detail and "lower batch_size" in found.remedy
    settings = paper_model()
    many = settings.engine.model_copy(update={"decode_rows": 4096})
    found = memory_of(settings.model_copy(update={"engine": many}), H100)
    assert found.status == WARNING
    assert "GB with the weights" in found.detail and "decode_rows null" in found.remedy


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
        open_evaluator(job)


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
