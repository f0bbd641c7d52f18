"""Which accelerators are used, and which that were asked for are refused."""

from types import SimpleNamespace

import pytest

from components.contracts.errors import MillraceError
from components.train import TrainSettings, devices, pulse, usage
from components.train.devices import check_devices

OLD_DRIVER = 'Field "compute_cap" is not a valid field to query.\n'
LISTED = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11aa-0)
GPU 1: NVIDIA H100 PCIe (UUID: GPU-22bb-0)
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A machine whose driver lists two GPUs, and a torch that is built for them."""
    command = tmp_path / "nvidia-smi"
    command.write_text(
        f"#!/bin/sh\n[ \"$1\" = -L ] && cat <<'END' || printf '0, 45, 1024\\n1, 7, 12\\n'\n{LISTED}END\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_built_for_gpus", lambda: True)


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (None, ["NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe"]),
        ("1,0", ["NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3"]),
        ("GPU-22", ["NVIDIA H100 PCIe"]),
        ("0,-1,1", ["NVIDIA H100 80GB HBM3"]),
        ("", []),
    ],
)
def test_gpus_are_those_that_are_listed_and_allowed(driver, monkeypatch, allowed, expected):
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert devices.gpus() == expected
    assert devices.processes(TrainSettings()) == max(len(expected), 1)


def test_a_torch_that_is_built_for_processors_uses_no_gpu(driver, monkeypatch):
    monkeypatch.undo()
    import torch

    assert devices._built_for_gpus() is (torch.version.cuda is not None)


def test_what_gpus_do_is_measured_while_somebody_trains(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(usage, "EVERY_SECONDS", 0.0)
    pulse.create(tmp_path / "pulse", 1)
    used = usage.Usage(tmp_path / "pulse")
    assert not used.look()
    pulse.Pulse(tmp_path / "pulse", 0)
    found = used.look()
    assert {name: value for name, value in found.items() if "gpu" in name} == {
        "system/gpu_0_percent": 45.0,
        "system/gpu_0_megabytes": 1024.0,
        "system/gpu_1_percent": 7.0,
        "system/gpu_1_megabytes": 12.0,
    }


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("there", "given", "expected"),
    [
        ([], {"accelerator": "gpu"}, "E_DEVICE train.accelerator: asked for 1 GPU, there is no GPU .*=auto"),
        (["H1"], {"accelerator": "gpu", "devices": 2}, "E_DEVICE train.devices: asked for 2 GPU, .*: at most 1"),
        (["H1"], {"devices": 3}, "E_DEVICE train.devices: asked for 3 GPU, there is H1 .*allowed: at most 1"),
        ([], {"nodes": 2}, "E_CONFIG train.rendezvous: several machines have to know where they meet"),
        (["H1"], {"strategy": "fsdp", "precision": "float16"}, "E_CONFIG train.precision: fsdp does not scale"),
    ],
)
def test_bad_input_B52_a_device_that_is_not_there(monkeypatch, there, given, expected):
    monkeypatch.setattr(devices, "gpus", lambda: there)
    with pytest.raises(MillraceError, match=expected) as caught:
        check_devices(TrainSettings(**given))
    assert caught.value.exit_code == (1 if "E_DEVICE" in expected else 2)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", "bfloat16"),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile", "bfloat16"),
        ("Features\t: fp asimd bf16", "bfloat16"),
        ("flags\t\t: fpu avx2 avx512f", "float32"),
        ("bugs\t\t: avx512_bf16", "float32"),
        (None, "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(monkeypatch, tmp_path, flags, expected):
    monkeypatch.setattr(devices, "gpus", list)
    monkeypatch.setattr(devices, "CPU_FILE", tmp_path / "cpuinfo")
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n\nprocessor\t: 1\n{flags}\n")
    assert devices.computed_in(TrainSettings(precision="auto")) == expected
    assert devices.computed_in(TrainSettings()) == "float32"
    assert not devices.precision_warning(TrainSettings(precision="auto"))
    warned = devices.precision_warning(TrainSettings(precision="bfloat16"))
    assert bool(warned) == (expected == "float32")
    assert not warned or "only imitates bfloat16" in warned
    assert "only imitates float16" in devices.precision_warning(TrainSettings(precision="float16"))


@pytest.mark.parametrize(
    ("said", "expected"), [("9.0\n9.0\n", "bfloat16"), ("9.0\n7.5\n", "float32"), (OLD_DRIVER, "float32")]
)
def test_auto_asks_every_gpu(monkeypatch, said, expected):
    monkeypatch.setattr(devices, "gpus", lambda: ["H1", "H2"])
    monkeypatch.setattr(devices.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=said))
    assert devices.computed_in(TrainSettings(precision="auto")) == expected
    assert not devices.precision_warning(TrainSettings(precision="float16"))


def test_a_device_that_is_there_passes_and_auto_is_all_there_are(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: ["H1", "H2"])
    for given in ({"accelerator": "gpu"}, {}, {"strategy": "fsdp"}, {"accelerator": "cpu", "devices": 4}):
        check_devices(TrainSettings(**given))
    assert [devices.processes(TrainSettings(accelerator=one)) for one in ("auto", "gpu", "cpu")] == [2, 2, 1]
    monkeypatch.setattr(devices, "gpus", list)
    assert devices.processes(TrainSettings()) == 1
