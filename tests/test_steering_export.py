"""Exported scales: in a fresh process, hooked or folded, they do what the workflow's run did."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from model_support import make_instances, make_tiny, stock_answer, stock_inputs
from qwen_support import make_tiny_qwen
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText

from hones_core import artifacts
from hones_core.engine.interventions import applied
from hones_core.engine.plain import forced_logits
from hones_core.schemas.steering import STEERING_SCALES, STEERING_SEARCH
from hones_core.steering.__main__ import main
from hones_core.steering.bank import Bank, SteeringError, column_norms
from hones_core.steering.examples import first_examples
from hones_core.steering.export import apply_scales, fold_scales, read_scales, save_folded
from hones_core.steering.prediction import predict_steered
from hones_core.steering.training import _forced

pytest_plugins = ["model_fixtures"]

ROOT = Path(__file__).parent.parent
BANK = Bank(frozenset([(0, 2), (0, 19), (1, 3), (1, 4), (1, 11)]))
ANSWER = [40, 41]  # some tokens of text
SCALES = [0.4, -0.7, 1.1, -1.5, 0.25]


def write_run(tiny, folder: Path) -> Path:
    """A run's model folder with the artifacts of the learning step."""
    frame = BANK.frame("hones", SCALES)
    frame = frame.assign(column_norm=column_norms(tiny.adapter, frame))
    made = {
        "config": {
            "model": {
                "path": str(tiny.folder),
                "revision": None,
                "family": tiny.adapter.family,
                "dtype": "float32",
            },
            "steering": {"learning_rate": 0.05, "kl_weights": [0.05]},
        },
        "versions": {"torch": "2"},
        "bank": "vqa+ocr",
        "shape": {"layers": 2, "neurons": 24},
        "architecture": type(tiny.adapter.model).__name__,
    }
    rows = [(name, 0, 0, 5, 0.05, 1.0, 0.5, True) for name in ("base", "hones")]
    search = pd.DataFrame(rows, columns=STEERING_SEARCH.names)
    path = folder / "tiny" / "vqa"
    artifacts.write(path / "steering_scales.parquet", frame, STEERING_SCALES, made)
    artifacts.write(path / "steering_search.parquet", search, STEERING_SEARCH, made)
    return folder / "tiny"


@pytest.fixture(scope="module", params=["tiny", "tiny_qwen"])
def exported(request, tmp_path_factory):
    """A model and the file of its scales, as the command writes it."""
    tiny = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("export")
    file = folder / "scales.safetensors"
    assert main(["export", str(write_run(tiny, folder)), "vqa", "--output", str(file)]) == 0
    return tiny, file


def stock_model(tiny):
    return AutoModelForImageTextToText.from_pretrained(tiny.folder, dtype=torch.float32).eval()


def logits_of(tiny, model) -> torch.Tensor:
    """Of one question, by the stock forward."""
    evaluator, (item, *_) = tiny.evaluator("vqa"), make_instances("vqa")
    with torch.no_grad():
        return model(**stock_inputs(tiny, item.image, evaluator.text(item), ANSWER)).logits


def test_the_file_says_what_it_is(exported):
    tiny, file = exported
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["hones_scales"])
        assert opened.get_tensor("scales").tolist() == torch.tensor(SCALES).tolist()
    assert header["model"]["path"] == str(tiny.folder)
    assert header["shape"] == {"layers": 2, "neurons": 24}
    assert header["bank"] == {"source": "vqa+ocr", "n_neurons": 5}
    assert header["training"]["kl_weights"] == [0.05]
    assert header["scores"] == {"development": 0.5, "development_base": 0.5}
    assert (header["task"], header["method"]) == ("vqa", "hones")
    assert file.stat().st_size < 4000


def test_hooks_equal_the_steered_run_and_can_be_taken_off(exported):
    tiny, file = exported
    model = stock_model(tiny)
    base = logits_of(tiny, model)
    with applied(tiny.adapter, BANK.intervention(torch.tensor(SCALES))):
        steered = logits_of(tiny, tiny.adapter.model)
    handle = apply_scales(model, file)
    assert torch.equal(logits_of(tiny, model), steered)
    assert not torch.allclose(base, steered, atol=1e-3)
    handle.remove()
    assert torch.equal(logits_of(tiny, model), base)
    with apply_scales(model, file):
        assert torch.equal(logits_of(tiny, model), steered)
    assert torch.equal(logits_of(tiny, model), base)


def test_folding_equals_hooking(exported):
    tiny, file = exported
    model = stock_model(tiny)
    with apply_scales(model, file):
        hooked = logits_of(tiny, model)
    fold_scales(model, file)
    torch.testing.assert_close(logits_of(tiny, model), hooked, atol=2e-5, rtol=1e-5)
    with pytest.raises(SteeringError, match="or scales are folded into it already"):
        fold_scales(model, file)


def test_a_saved_checkpoint_needs_none_of_this_code(exported, tmp_path):
    """It answers as the steered run does, by stock classes alone, with its own processor."""
    tiny, file = exported
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    found, _ = predict_steered(evaluator, instances, BANK.frame("hones", SCALES))
    steered = found[found["method"] == "hones"].set_index("instance_id")["prediction"]
    output = tmp_path / "folded"
    arguments = ["apply", str(file), str(tiny.folder), "--output", str(output)]
    assert main(arguments) == 0
    model = AutoModelForImageTextToText.from_pretrained(output).eval()
    model.generation_config.repetition_penalty = 1.0  # as the workflow decodes
    plain = replace(tiny, stock=model)
    for item in instances:
        assert stock_answer(plain, evaluator, item) == steered[item.instance_id]
    names = {path.name for path in tiny.folder.iterdir()}
    assert names <= {path.name for path in output.iterdir()}
    assert main(arguments) == 1  # it is there already


def test_a_checkpoint_is_there_whole_or_not_at_all(tiny, tmp_path, monkeypatch):
    """Stopped at its last file it leaves nothing; what a kill left goes into no checkpoint."""
    file, output = tmp_path / "scales.safetensors", tmp_path / "folded"
    main(["export", str(write_run(tiny, tmp_path)), "vqa", "--output", str(file)])
    before = set(tmp_path.iterdir())

    def stopped(*_):
        (begun,) = set(tmp_path.iterdir()) - before
        assert (begun / "model.safetensors").exists()
        assert begun != output
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "copy", stopped)
        save_folded(file, str(tiny.folder), output)
    assert set(tmp_path.iterdir()) == before
    left = tmp_path / ".folded.tmp"  # by a process that could not tidy up
    left.mkdir()
    (left / "model-00001-of-00002.safetensors").touch()
    save_folded(file, str(tiny.folder), output)
    assert set(tmp_path.iterdir()) == {*before, output}
    assert not list(output.glob("model-*"))


def test_a_model_that_is_none_is_refused(tiny, tmp_path, capsys):
    """A mistyped folder, one without a model, and a config that names no class."""
    file, folder = tmp_path / "scales.safetensors", tmp_path / "copied"
    main(["export", str(write_run(tiny, tmp_path)), "vqa", "--output", str(file)])
    shutil.copytree(tiny.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    asked = {
        "resources/toy/lava": "cannot load a model from resources/toy/lava: .*Give the folder of",
        str(tmp_path): "cannot load a model from .*Give the folder of a whole checkpoint",
        str(folder): r"config\.json names the architectures \[\], .*; put the model's class there",
    }
    (folder / "config.json").write_text(json.dumps({**config, "architectures": None}))
    for source, message in asked.items():
        assert main(["apply", str(file), source, "--output", str(tmp_path / "folded")]) == 1
        assert re.search(message, capsys.readouterr().err, re.S), source
    assert not (tmp_path / "folded").exists()


def readme_lines() -> str:
    """The Python block of docs/steering.md that applies exported scales."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/steering.md").read_text(), re.S)
    (block,) = [block for block in blocks if "apply_scales(" in block]
    return block


def test_the_documents_lines_in_a_fresh_process(exported, tmp_path):
    """As the document has them; the steered run's logits come out, bit for bit."""
    tiny, file = exported
    evaluator, (item, *_) = tiny.evaluator("vqa"), make_instances("vqa")
    inputs = stock_inputs(tiny, item.image, evaluator.text(item), ANSWER)
    torch.save(dict(inputs), tmp_path / "inputs.pt")
    shutil.copy(file, tmp_path / "scales.safetensors")
    lines = readme_lines().replace("resources/toy/llava", str(tiny.folder))
    script = (
        f"import torch\ntorch.set_num_threads(1)\n{lines}\n"
        "with torch.no_grad():\n"
        "    logits = model.eval()(**torch.load('inputs.pt')).logits\n"
        "torch.save(logits, 'logits.pt')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with applied(tiny.adapter, BANK.intervention(torch.tensor(SCALES))):
        steered = logits_of(tiny, tiny.adapter.model)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), steered)


def test_scales_for_another_model_are_refused(exported, tmp_path):
    tiny, file = exported
    same_shape = stock_model(tiny)
    with torch.no_grad():
        down = same_shape.model.language_model.layers[1].mlp.down_proj
        down.weight.mul_(1.3)
    with pytest.raises(SteeringError, match="other weights in layer 1"):
        apply_scales(same_shape, file)
    apply_scales(same_shape, file, check_weights=False).remove()
    maker = make_tiny_qwen if tiny.adapter.family == "llava" else make_tiny
    another = maker(tmp_path / "another")
    with pytest.raises(SteeringError, match=r"is for .*model \(\w+\), not for a \w+"):
        apply_scales(another.stock, file)


def test_scales_for_another_number_of_layers_are_refused(tiny, grouped, tmp_path):
    file = tmp_path / "scales.safetensors"
    assert main(["export", str(write_run(tiny, tmp_path)), "vqa", "--output", str(file)]) == 0
    with pytest.raises(SteeringError, match="with 2 layers of 24 neurons; this model has 3 of 24"):
        apply_scales(grouped.stock, file)
    with pytest.raises(SteeringError, match="3 of 24"):
        save_folded(file, str(grouped.folder), tmp_path / "folded")
    assert not (tmp_path / "folded").exists()


def test_files_that_are_none(tiny, tmp_path, capsys):
    missing = tmp_path / "missing.safetensors"
    with pytest.raises(SteeringError, match="cannot be read as steering scales"):
        read_scales(missing)
    missing.write_bytes(b"no tensors")
    with pytest.raises(SteeringError, match="cannot be read as steering scales"):
        read_scales(missing)
    save_file({"scales": torch.ones(2)}, missing)
    with pytest.raises(SteeringError, match="is no file of steering scales"):
        read_scales(missing)
    run = write_run(tiny, tmp_path)
    arguments = ["export", str(run), "vqa", "--output", str(tmp_path / "x"), "--method", "random"]
    assert main(arguments) == 1
    assert "no method 'random' with seed 0; it has hones 0" in capsys.readouterr().err
    assert main(["export", str(run), "ocr", "--output", str(tmp_path / "x")]) == 1
    assert "steering_scales.parquet is missing" in capsys.readouterr().err


def test_a_bank_is_the_logits_of_the_engine_too(tiny, exported):
    """What the fast engine was steered with is what the file holds."""
    steered_tiny, file = exported
    evaluator = steered_tiny.evaluator("vqa")
    forced = _forced(evaluator, first_examples(evaluator, make_instances("vqa")))
    with torch.no_grad(), applied(steered_tiny.adapter, BANK.intervention(torch.tensor(SCALES))):
        expected = forced_logits(steered_tiny.adapter, forced)
    with torch.no_grad(), apply_scales(steered_tiny.adapter.model, file):
        assert torch.equal(forced_logits(steered_tiny.adapter, forced), expected)
