"""What tables read: each model's artifacts under its own name, in whatever order it is listed."""

import re
from itertools import product
from types import SimpleNamespace

import pytest
import yaml
from workflow_support import ROOT, copy_project, succeed, write_config

from hones_core.schemas.masking import DOMINANT_GROUPS
from workflow_scripts.table_step import paths_per_task, read_per_model, read_per_task


def given(paths, **cfg):
    params = SimpleNamespace(cfg={"tasks": ["vqa"], **cfg})
    return SimpleNamespace(input={"files": paths}, params=params)


def test_a_file_of_another_model_is_refused():
    snakemake = given(["results/run/b/vqa/x.parquet"], models=["a"])
    with pytest.raises(ValueError, match=r"b/vqa/x.parquet is taken for that of a, vqa"):
        read_per_task(snakemake, "files", DOMINANT_GROUPS)
    with pytest.raises(ValueError, match="is taken for that of a"):
        read_per_model(snakemake, "files", DOMINANT_GROUPS)


@pytest.fixture(scope="module")
def reversed_plan(tmp_path_factory):
    """What a run plans whose models are not listed in the order of their names."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    models = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    overlay = write_config(project, "reversed.yaml", {"models": models[::-1]})
    options = ("--cores", "1", "--dry-run", "--configfile", overlay)
    return succeed(project, "all", "ood_steering", "rankers_full", *options)


@pytest.mark.parametrize(
    ("rule", "artifact"),
    [
        ("tabulate_steering", "vqa/steered_predictions"),
        ("tabulate_text_erasure", "caption/text_erased_predictions"),
        ("tabulate_ood_groups", "ood/gqa/ood_group_predictions"),
        ("tabulate_ood_steering", "ood/gqa/steered_predictions"),
        ("tabulate_masking_full", "vqa/masked_predictions"),
        ("tabulate_efficiency", "vqa/efficiency/token_layers"),
        ("write_report", "vqa/neuron_ranking"),
    ],
)
def test_files_are_listed_in_the_order_of_the_params(reversed_plan, rule, artifact):
    """The models of params are sorted; so are the inputs, whatever the configuration's order."""
    block = reversed_plan.split(f"rule {rule}:")[1].split("output:")[0]
    folder, name = artifact.rsplit("/", 1)
    places = [
        re.search(f"results/toy/{model}/{folder}/(full_)?{name}.parquet", block).start()
        for model in ("llava", "qwen2_5_vl")
    ]
    assert places == sorted(places)


def test_the_parameter_that_lists_the_folders_can_have_another_name():
    paths = [f"results/run/{model}/ood/{name}/x.parquet" for model in "ab" for name in ("g", "t")]
    snakemake = given(paths, models=["a", "b"], ood_sets=["g", "t"])
    found = paths_per_task(snakemake, "files", of="ood_sets")
    assert found == dict(zip(product("ab", "gt"), paths, strict=True))
