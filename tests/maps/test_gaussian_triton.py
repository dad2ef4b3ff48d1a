"""The Triton kernels of the Gaussian map, without a GPU: interpreted, and compiled to machine code.

On a GPU, `test_maps.py` and the last test here run them. They were written where there is none.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from subspan.maps import gaussian
from subspan.maps.gaussian import GaussianMap

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@needs_triton
def test_interpreted_kernels_equal_the_definition(repo_root):
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
         str(Path(__file__).with_name("interpreted_kernels.py"))],
        cwd=repo_root, env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout


@needs_triton
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "fp64", "bf16"])
def test_kernels_compile_for_a_gpu(capability, dtype, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from subspan.maps import gaussian_triton as kernels

    total = "*fp64" if dtype == "fp64" else "*fp32"
    shared = {"table": "*fp32", "key": "*i64", "words_per_column": "i32"}
    product = {"norms": "*fp32", **shared, "start": "i64", "stop": "i64", "dim": "i32"}
    signatures = {
        kernels._forward_kernel: {
            "out": total, "theta": f"*{dtype}", **product, "first": "i32", "period": "i32"
        },
        kernels._adjoint_kernel: {"out": total, "v": f"*{dtype}", **product, "tiles": "i32"},
        kernels._squares_kernel: {"out": "*i64", **shared, "ambient_dim": "i32", "tiles": "i32"},
    }  # fmt: skip
    for kernel, signature in signatures.items():
        source = ASTSource(kernel, {**signature, "BLOCKS": "constexpr"}, {"BLOCKS": 128})
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        assert len(compiled.asm["cubin"]) > 0


def test_kernels_are_for_gpus_and_only_where_triton_is(monkeypatch):
    assert not gaussian.has_kernels(torch.device("cpu"))
    found = importlib.util.find_spec("triton") is not None
    assert gaussian.has_kernels(torch.device("cuda")) == found
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not gaussian.has_kernels(torch.device("cuda"))
    assert GaussianMap(3, 50, 0, dense_bytes=0).fused is None


@needs_triton
@pytest.mark.gpu
def test_kernels_on_a_gpu_equal_the_definition():
    kept = GaussianMap(9, 100_001, 7)
    again = GaussianMap(9, 100_001, 7, device="cuda", dense_bytes=0)
    assert again.fused is not None
    assert again.checksum() == kept.checksum()
    assert torch.equal(again.dense().cpu(), kept.dense())
    v = torch.randn(2, 100_001)
    torch.testing.assert_close(again.adjoint(v.cuda()).cpu(), kept.adjoint(v), rtol=1e-4, atol=1e-3)
