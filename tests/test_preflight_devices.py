"""The preflight's look at a device: builds of torch, dtypes, and what cannot be used."""

from dataclasses import replace

import pytest
import torch
from preflight_support import CPU, DEFAULT_WHEEL, H100, V100

from hones_core.engine.device import DeviceFacts, check_device, has_code, look
from hones_core.findings import FAILED, OK, SKIPPED, WARNING, Finding


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
