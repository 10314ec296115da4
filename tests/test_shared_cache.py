"""Another clone takes head and neuron effects over from a shared cache, where they are its own."""

from pathlib import Path

import pytest
from chain_support import small_run
from workflow_support import copy_project, succeed, write_config

EFFECTS = ("head_effects", "neuron_effects")


class Clone:
    """A checkout of its own that shares a cache folder with others."""

    def __init__(self, folder: Path, **values):
        self.project = copy_project(folder)
        # few and short answers: what is measured here does not matter
        small = small_run("small", "llava", tasks=["vqa"], jobs="per_task", groups={"ood_sets": []})
        small["heads"] = {"utility": "target_logprob", "joint_tasks": [], "samples": {"vqa": 4}}
        small["neurons"]["samples"] = {"vqa": 4}
        self.small = write_config(self.project, "small.yaml", small)
        self.changed = write_config(self.project, "changed.yaml", values)

    def run(self) -> dict[str, Path]:
        """{kind of effects: the file that they lie in}; as `snakemake --cache`."""
        wanted = {
            name: self.project / f"results/small/llava/vqa/{name}.parquet" for name in EFFECTS
        }
        targets = [path.relative_to(self.project).as_posix() for path in wanted.values()]
        configuration = ("--configfile", self.small, self.changed)
        self.said = succeed(self.project, *targets, "--cores", "1", "--cache", *configuration)
        return {name: path.resolve() for name, path in wanted.items()}

    def measured(self, name: str) -> bool:
        """Whether a script of this clone wrote the effects: it leaves a record of its time."""
        return (self.project / f"results/small/benchmarks/measure_{name}/llava/vqa.tsv").exists()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def first(cache, tmp_path_factory):
    clone = Clone(tmp_path_factory.mktemp("first"))
    clone.found = clone.run()
    return clone


def test_the_first_clone_fills_the_cache(first, cache):
    assert all(path.parent == cache for path in first.found.values())
    assert all(first.measured(name) for name in EFFECTS)


def test_another_clone_takes_the_effects_over(first, cache, tmp_path):
    second = Clone(tmp_path)
    assert second.run() == first.found
    assert not any(second.measured(name) for name in EFFECTS)


def test_another_parameter_is_not_taken_over(first, cache, tmp_path):
    """Fewer samples of the neurons: the same head effects, other neuron effects."""
    other = Clone(tmp_path, neurons={"samples": {"vqa": 3}})
    found = other.run()
    assert found["head_effects"] == first.found["head_effects"]
    assert found["neuron_effects"] != first.found["neuron_effects"]
    assert not other.measured("head_effects") and other.measured("neuron_effects")


def test_another_module_is_not_taken_over(first, cache, tmp_path):
    """A module behind the neurons' effects only: the same head effects, other neuron effects."""
    other = Clone(tmp_path)
    module = other.project / "hones_core/attribution/neuron_effects.py"
    module.write_text(module.read_text() + "\nCHANGED = 1\n")
    found = other.run()
    assert found["head_effects"] == first.found["head_effects"]
    assert found["neuron_effects"] != first.found["neuron_effects"]
