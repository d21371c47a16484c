"""What a processor has no instructions for is known before it is slow."""

from __future__ import annotations

import pytest
import torch

from maltriage.learn.fit.devices import emulated

X86 = {"avx512_bf16": False, "amx_bf16": False, "avx512_fp16": False, "amx_fp16": False}
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("told", "device", "precision", "answer"),
    [
        (X86, CPU, "bfloat16", True),
        (X86, CPU, "float16", True),
        (X86, CPU, "float32", False),
        (X86, CUDA, "bfloat16", False),
        ({**X86, "amx_bf16": True}, CPU, "bfloat16", False),
        ({**X86, "avx512_bf16": True}, CPU, "float16", True),
        ({"neon": True}, CPU, "bfloat16", False),  # nothing is known of it
    ],
)
def test_a_precision_without_instructions(
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, bool],
    device: torch.device,
    precision: str,
    answer: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert emulated(device, precision) is answer  # type: ignore[arg-type]


def test_a_pytorch_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not emulated(CPU, "bfloat16")
