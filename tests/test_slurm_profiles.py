"""profiles/slurm and profiles/slurm-dev, as Snakemake reads them; tests/slurm submits with them."""

import re
import subprocess
from pathlib import Path

import pytest
from snakemake.profiles import ProfileConfigFileParser
from workflow_support import ROOT, copy_project, succeed

PAPER = ("--configfile", "configs/paper.yaml")
DEV = ("--configfile", "configs/paper.yaml", "configs/paper-100.yaml")


def read(profile: str, monkeypatch) -> dict:
    """The profile's keys, with templates filled in."""
    monkeypatch.chdir(ROOT)  # profiles/slurm-dev looks for profiles/slurm from there
    with (ROOT / "profiles" / profile / "config.yaml").open() as stream:
        return ProfileConfigFileParser().parse(stream)


def resources(profile: dict) -> dict[str, dict[str, str]]:
    """{rule: {resource: expression}} of the rules that the profile names."""
    found = {}
    for line in profile["set-resources"]:
        rule, rest = line.split(":", 1)
        name, value = rest.split("=", 1)
        found.setdefault(rule, {})[name] = value
    return found


def rules() -> dict[str, str]:
    """{rule: its text}; a rule made of another (`use rule`) takes over the input that it keeps."""
    found = {}
    for path in sorted((ROOT / "rules").glob("*.smk")):
        head = r"^\s*(?:use rule (\w+) as|rule) (\w+)(?: with)?:$"
        parts = re.split(head, path.read_text(), flags=re.M)
        for base, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            kept = "" if base is None or "    input:" in text else found[base]
            found[name] = text + kept
    return found


def rules_with_a_model() -> set[str]:
    """Those that take a model's files, and the preflight, which loads every model."""
    with_model = {
        name for name, text in rules().items() if re.search(r"^\s+model_files,$", text, re.M)
    }
    return {"preflight"} | with_model - {"predict_toy_check"}  # the toy's check needs no GPU


@pytest.mark.parametrize("profile", ["slurm", "slurm-dev"])
def test_every_rule_with_a_model_and_no_other_asks_for_a_gpu_memory_cpus_and_time(
    profile, monkeypatch
):
    asked = resources(read(profile, monkeypatch))
    assert set(asked) == rules_with_a_model()
    for given in asked.values():
        assert given["gres"] == "'gpu:v100:1'"
        assert given["mem_mb"].startswith("attempt * ") and "attempt * " in given["runtime"]
        assert int(given["cpus_per_task"]) > 0


def test_account_partition_gpu_and_longest_job_are_written_once():
    text = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
    values = re.sub(r"#.*", "", text)
    for one in ("slurm_account:", "slurm_partition:", "gres:", "gpu:v100:1", "resources: {"):
        assert values.count(one) == 1, one
    assert text.count("# constraint:") == 1 and text.count("# slurm_partition:") == 1
    dev = (ROOT / "profiles" / "slurm-dev" / "config.yaml").read_text()
    assert not re.search(r"account:|partition:|gres:|constraint:|executor:", dev)


def test_no_retries_of_a_rule_s_own_and_no_job_arrays(monkeypatch):
    """Both lose results: retries inside the old allocation, siblings of a failed task."""
    assert not [name for name, text in rules().items() if re.search(r"^\s+retries:", text, re.M)]
    profile = read("slurm", monkeypatch)
    assert int(profile["retries"]) > 0 and "slurm-array-jobs" not in profile
    assert profile["slurm-status-command"] == "squeue"


def test_the_profile_compares_as_a_local_run_does(monkeypatch):
    """Or a study that is begun on a cluster would be run again by a bare `snakemake`."""
    local, slurm = read("default", monkeypatch), read("slurm", monkeypatch)
    for key in ("rerun-triggers", "max-checksum-file-size"):
        assert slurm[key] == local[key]


def test_the_quick_profile_is_the_study_s_with_shorter_jobs(monkeypatch):
    study, dev = read("slurm", monkeypatch), read("slurm-dev", monkeypatch)
    different = {key for key in study.keys() | dev.keys() if study.get(key) != dev.get(key)}
    assert different == {"retries", "keep-going", "set-resources"}
    longer, shorter = resources(study), resources(dev)
    for rule, given in shorter.items():
        minutes = eval(given.pop("runtime"), {"attempt": 1})
        assert 60 <= minutes <= eval(longer[rule].pop("runtime"), {"attempt": 1})
    assert shorter == longer


def test_the_documented_profile_for_two_gpus_doubles_gpus_and_memory(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "running-at-scale.md").read_text()
    command = re.search(r"^sed -e (.|\n)+? profiles/slurm/config.yaml(?= >)", page, re.M)[0]
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, check=True)
    (tmp_path / "config.yaml").write_bytes(done.stdout)
    one = resources(read("slurm", monkeypatch))
    with (tmp_path / "config.yaml").open() as stream:
        two = resources(ProfileConfigFileParser().parse(stream))
    for rule, given in one.items():
        assert two[rule].pop("gres") == "'gpu:v100:2'" and given.pop("gres") == "'gpu:v100:1'"
        memory, doubled = (int(asked.pop("mem_mb").split()[-1]) for asked in (given, two[rule]))
        assert doubled == 2 * memory
    assert one == two


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy in which partition and account are set, as a user sets them."""
    project = copy_project(tmp_path_factory.mktemp("profiles"))
    file = project / "profiles" / "slurm" / "config.yaml"
    text = file.read_text().replace("slurm_account: \"''\"", "slurm_account: \"'physics'\"")
    text = text.replace("slurm_partition: \"''\"", "slurm_partition: \"'v100'\"")
    file.write_text(text)
    return project


def planned(project: Path, *arguments: str) -> list[tuple[str, str, str]]:
    """(kind, rule, resources) of every job of a dry run that would submit."""
    said = succeed(project, "--dry-run", "--quiet", "host", *arguments)
    found = re.findall(r"^((?:local)?rule) (\w+):\n(?:    .*\n)*?    resources: (.*)$", said, re.M)
    assert found, said
    return found


@pytest.mark.parametrize(("profile", "config"), [("slurm", PAPER), ("slurm-dev", DEV)])
def test_a_dry_run_of_the_paper_s_study_gives_every_job_its_resources(project, profile, config):
    jobs = planned(project, "--workflow-profile", f"profiles/{profile}", *config)
    limits = [int(re.search(r"runtime=(\d+)", asked)[1]) for _, _, asked in jobs]
    assert max(limits) <= (10080 if profile == "slurm" else 504)
    for _, rule, asked in jobs:
        assert "slurm_account=physics" in asked and "slurm_partition=v100" in asked
        assert ("gres=gpu:v100:1" in asked) == (rule in rules_with_a_model())
        assert re.search(r"mem_mb=(8000|32000|48000)\b", asked) and "cpus_per_task=" in asked


def test_local_rules_exist_need_no_model_and_hold_the_download():
    """A dry run does not tell where a job would run; that it is here, tests/slurm shows."""
    block = re.search(r"^localrules:\n((?:    \w+,\n)+)", (ROOT / "Snakefile").read_text(), re.M)
    local = set(re.findall(r"\w+", block[1]))
    assert "download_coco" in local  # nodes may have no internet
    assert local <= set(rules()) and not local & rules_with_a_model()
