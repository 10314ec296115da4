"""Checkpoints: each is refused by the job that would run the model, before it runs."""

import json

import torch
from case import Catalogue
from commands import script, workflow
from safetensors.torch import load_file, save_file
from study import RUN, Study

MODEL = Catalogue("model")
RUNNING = script("predict_base")
WEIGHTS = "model.safetensors"
AGAIN = "Copy the whole checkpoint to model again"


def case(name: str, broken, *says: str) -> None:
    """A case of the study's model."""
    MODEL.add(name, RUNNING, broken, *says)


def _path(study: Study, name: str = WEIGHTS):
    return study.folder / "model" / name


def _change_weights(study: Study, change) -> None:
    tensors = load_file(_path(study))
    change(tensors)
    save_file(tensors, _path(study), {"format": "pt"})


def _truncate(study: Study, kept: float) -> None:
    whole = _path(study).read_bytes()
    _path(study).write_bytes(whole[: int(kept * len(whole))])


def _pickled(study: Study) -> None:
    torch.save(load_file(_path(study)), _path(study, "pytorch_model.bin"))
    _path(study).unlink()


def _sharded(study: Study, place: str) -> None:
    """An index that says that a tensor is at that place."""
    tensors = list(load_file(_path(study)))
    content = {"weight_map": {**dict.fromkeys(tensors, "model-1.safetensors"), tensors[0]: place}}
    _path(study, f"{WEIGHTS}.index.json").write_text(json.dumps(content))
    _path(study).rename(_path(study, "model-1.safetensors"))


def _set(study: Study, name: str, value: torch.Tensor) -> None:
    _change_weights(study, lambda tensors: tensors.update({name: value}))


def _own_code(study: Study) -> None:
    """Code that would leave a trace among the artifacts."""
    trace = study.artifact("trace")
    _path(study, "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own:\n    pass\n")
    study.change_config(architectures=["Own"], auto_map={"AutoModel": "own.Own"})


def _of_layers(study: Study, layers: int) -> None:
    change = study.path("model/config.json")
    content = json.loads(change.read_text())
    content["text_config"]["num_hidden_layers"] = layers
    change.write_text(json.dumps(content))


def _of_heads(study: Study, heads: int) -> None:
    change = study.path("model/config.json")
    content = json.loads(change.read_text())
    content["text_config"] |= {"num_attention_heads": heads, "head_dim": 8}
    change.write_text(json.dumps(content))


NAME = "language_model.model.layers.0.mlp.down_proj.weight"

case(
    "no folder",
    lambda study: study.overlay(_overlay(study, path="weights/llava/7b")),
    "weights/llava/7b cannot be run here: weights: there is no folder weights/llava/7b",
    "Give an existing folder or a hub id",
)
case(
    "a folder without anything",
    lambda study: [path.unlink() for path in (study.folder / "model").iterdir()],
    "config: config.json cannot be read: No such file",
    "weights: model holds neither model.safetensors nor model.safetensors.index.json",
    AGAIN,
)
case(
    "pickled weights",
    _pickled,
    "weights: model holds pickled weights only, which are refused: pytorch_model.bin",
    "Convert them to safetensors",
)
case("weights cut off", lambda study: _truncate(study, 0.7), WEIGHTS, "its header promises", AGAIN)
case("weights cut off in the header", lambda study: _truncate(study, 0.001), WEIGHTS, "it is cut")
case("empty weights", lambda study: _truncate(study, 0), "has 0 bytes", "Remove the damaged file")
case(
    "a web page in place of weights",
    lambda study: _path(study).write_text("<html>404 Not Found</html>"),
    f"{WEIGHTS} has 26 bytes, and its header would have",
    "no safetensors file",
    AGAIN,
)
case(
    "a shard outside the folder",
    lambda study: _sharded(study, "../other.safetensors"),
    "model.safetensors.index.json names '../other.safetensors' as a shard, which is no file name",
)
case(
    "a missing shard",
    lambda study: _sharded(study, "model-2.safetensors"),
    "1 of 2 shards are missing from model: model-2.safetensors",
    AGAIN,
)
case("a config cut off", lambda study: _path(study, "config.json").write_text('{"arch'), "not JSON")
case(
    "another architecture",
    lambda study: study.change_config(architectures=["Qwen2_5_VLForConditionalGeneration"]),
    "family llava needs LlavaForConditionalGeneration, but config.json names Qwen2_5_VL",
    "whose family is qwen2_5_vl",
    "Set the model's family to that of its checkpoint",
)
case(
    "an architecture that no family has",
    lambda study: study.change_config(architectures=["BlipForConditionalGeneration"]),
    "BlipForConditionalGeneration, which is not known here",
    "it needs an adapter",
)
case(
    "code of its own",
    _own_code,
    "config.json names code of its own (auto_map), which is never run",
    "Take a checkpoint in transformers' own format",
)
case(
    "a family that is not the model's",
    lambda study: study.overlay(_overlay(study, family="qwen2_vl")),
    "family qwen2_vl needs Qwen2VLForConditionalGeneration",
    "whose family is llava",
)
case(
    "a missing tokenizer",
    lambda study: [path.unlink() for path in study.path("model").glob("tokenizer*")],
    "cannot load the tokenizer and image processor at model",
    "Put the tokenizer's files (tokenizer.json, tokenizer_config.json)",
)
case(
    "a missing image processor",
    lambda study: [path.unlink() for path in study.path("model").glob("*processor*")],
    "cannot load the tokenizer and image processor at model",
    "preprocessor_config.json of this very checkpoint beside its weights",
)
case(
    "a missing tensor",
    lambda study: _change_weights(study, lambda tensors: tensors.pop(NAME)),
    "the weights at model are incomplete: 1 tensors are missing, such as",
    "layers.0.mlp.down_proj",
    "Copy or download the whole checkpoint again",
)
case(
    "a tensor of another shape",
    lambda study: _set(study, NAME, torch.zeros(7, 5)),
    "the weights at model do not fit its config.json: 1 tensors have another shape, such as",
    "layers.0.mlp.down_proj.weight with [7, 5] where [32, 24] is expected",
    "Take weights and config.json of the same checkpoint",
)
case(
    "more layers than weights",
    lambda study: _of_layers(study, 3),
    "the weights at model are incomplete",
    "layers.2.",
)
case(
    "heads that the weights do not have",
    lambda study: _of_heads(study, 8),
    "the weights at model do not fit its config.json",
    "self_attn",
)
case(
    "weights that are no numbers",
    lambda study: _set(study, NAME, torch.full((32, 24), float("nan"))),
    "layer 0 gives values that are no finite numbers: its weights are damaged",
    "download the checkpoint again",
)


@MODEL.case(
    "more heads selected than there are, asked beforehand",
    script("preflight"),
    "heads: top_heads is 99, the model has 8 heads. Lower the model's top_heads",
)
def _too_many_heads(study):
    study.overlay(_overlay(study, top_heads=99))


@MODEL.case(
    "weights cut off, in a whole run",
    workflow(f"{RUN}/tiny/vqa/base_predictions.parquet"),
    "Error in rule predict_base",
    "predict_base stopped: model cannot be run here: weights: model.safetensors has",
    "Remove the damaged file from model",
)
def _cut_off(study):
    _truncate(study, 0.5)
    return study.overlay({"tasks": ["vqa"], "jobs": "per_task"})


def _overlay(study: Study, **values) -> dict:
    """The study's model with other values."""
    model = study.settings().models[0].model_dump(exclude_none=True)
    return {"models": [{"revision": None, "compare_with": None, **model, **values}]}
