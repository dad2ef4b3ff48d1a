"""Devices by name: those that are there are given, others are one clear error."""

from __future__ import annotations

import pytest
import torch

import subspan as ss
from subspan.problems import devices
from subspan.theory import linearize


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, as PyTorch tells of them."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


@pytest.mark.usefixtures("gpus")
def test_what_is_there_is_found_by_its_name() -> None:
    assert devices.names() == ["cpu", "cuda", "cuda:0", "cuda:1"]
    for name in devices.names():
        assert devices.find(name) == torch.device(name)
    assert devices.find(torch.device("cuda", 1)) == torch.device("cuda:1")
    with pytest.raises(ss.InputError, match=r"there: cpu, cuda, cuda:0, cuda:1, got 'cuda:2'"):
        devices.find("cuda:2")


def test_the_first_of_one_has_two_names(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert devices.names() == ["cpu", "cuda"]
    assert devices.find("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ss.InputError, match="got 'cuda:1'"):
        devices.find("cuda:1")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "meta", "cpu:1", "gpu", "", "cuda:x"])
def test_what_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ss.InputError, match="device: expected one that is there: cpu, got"):
        devices.find(name)


def test_the_cpu_is_found_without_looking_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.accelerator, "is_available")
    assert devices.find("cpu") == devices.find("cpu:0") == torch.device("cpu")


@pytest.mark.usefixtures("no_gpu")
def test_cuda_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(ss.InputError, match="is built without CUDA: install one that has it"):
        devices.find("cuda")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(ss.InputError, match="finds no GPU: see nvidia-smi"):
        devices.find("cuda")


def test_a_device_without_float64_is_refused(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = torch.device("mps")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: found)
    assert devices.names() == ["cpu"]
    with pytest.raises(ss.InputError, match="has no float64, in which evaluations are summed"):
        devices.find("mps")


@pytest.mark.usefixtures("no_gpu")
def test_no_problem_goes_where_nothing_is() -> None:
    digits = ss.problems.load("digits-mlp", subset=60)
    for problem in (digits, ss.problems.load("quadratic"), linearize(digits)):
        with pytest.raises(ss.InputError, match="device: expected one that is there: cpu"):
            problem.to("cuda")
        assert problem.to("cpu").device == torch.device("cpu")


@pytest.mark.gpu
def test_a_problem_goes_to_a_gpu_and_trains_there() -> None:
    problem = ss.problems.load("digits-mlp").to("cuda")
    (record,) = ss.run(problem, "random", dims=[4], repeats=1, spec=ss.TrainSpec(steps=3))
    assert record.provenance["device"].startswith("cuda")
