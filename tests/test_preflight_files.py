"""The preflight's look at files: checkpoints and tokenizers, whole and damaged on purpose."""

import json
import shutil
from pathlib import Path

import pytest
from preflight_support import INDEX, SINGLE, settings_of
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from hones_core import preflight
from hones_core.findings import FAILED, OK, WARNING, Finding
from hones_core.models import checkpoint as checkpoints
from hones_core.models.checkpoint import DamagedFileError, check_checkpoint, read_header

pytest_plugins = ["model_fixtures", "preflight_fixtures"]


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
