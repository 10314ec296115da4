"""What tables read: each model's artifacts under its own name, in whatever order it is listed."""

from types import SimpleNamespace

import pytest
import yaml
from workflow_support import ROOT, copy_project, succeed, write_config

from hones_core.schemas.masking import DOMINANT_GROUPS
from workflow_scripts.table_step import read_per_model, read_per_task


def given(paths, **cfg):
    params = SimpleNamespace(cfg={"tasks": ["vqa"], **cfg})
    return SimpleNamespace(input={"files": paths}, params=params)


def test_a_file_of_another_model_is_refused():
    snakemake = given(["results/run/b/vqa/x.parquet"], compare_with={"a": None})
    with pytest.raises(ValueError, match=r"b/vqa/x.parquet is taken for that of a, vqa"):
        read_per_task(snakemake, "files", DOMINANT_GROUPS)
    with pytest.raises(ValueError, match="is taken for that of a"):
        read_per_model(snakemake, "files", DOMINANT_GROUPS)


def test_files_are_listed_in_the_order_of_the_params(tmp_path):
    """Keys of params are sorted; so are the inputs, whatever the order in the configuration."""
    project = copy_project(tmp_path)
    models = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    overlay = write_config(project, "reversed.yaml", {"models": models[::-1]})
    target = "results/toy/tables/steering.parquet"
    said = succeed(project, target, "--cores", "1", "--dry-run", "--configfile", overlay)
    block = said.split("rule tabulate_steering:")[1].split("output:")[0]
    assert block.index("results/toy/llava/vqa") < block.index("results/toy/qwen2_5_vl/vqa")
