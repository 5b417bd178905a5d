"""Exact resume: everything that the next step depends on, in safetensors and JSON, whole or absent."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mllmu_med.errors import DataError, IntegrityError
from mllmu_med.folders import read_json, read_manifest, staged, verify, write_json
from mllmu_med.models.sharding import first_process, like, own_rank, processes, wait_for_all, whole
from mllmu_med.training.distributed import everyone

TrainableParameters = dict[str, torch.nn.Parameter]
_ON_CUDA = "cuda-generator"


@dataclass(frozen=True)
class Checkpoints:
    """Where one stage keeps its latest checkpoint.

    Attributes:
        folder: replaced as a whole by each checkpoint.
        key: hash of everything that determines the stage; a checkpoint with another key is not resumed from.
    """

    folder: Path
    key: str

    def save(
        self,
        step: int,
        parameters: TrainableParameters,
        optimizer: torch.optim.Optimizer,
        history: list[dict[str, float]],
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write the state after ``step`` steps: weights that train, AdamW's moments, torch's generators, the curve.

        ``state``: tensors of a method, a gradient rule or a budget. With several processes each must call; the first
        one writes for all.
        """
        from safetensors.torch import save_file

        tensors = {f"weight/{name}": whole(p.detach()).contiguous() for name, p in parameters.items()}
        moments: dict[str, float] = {}
        for name, parameter in parameters.items():
            for entry, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.dim():
                    tensors[f"{entry}/{name}"] = whole(value).contiguous()
                else:
                    moments[f"{entry}/{name}"] = float(value)
        device = _cuda(parameters)
        for process, generator in enumerate(everyone(torch.get_rng_state())):
            tensors[f"generator/{process}"] = generator
        if device is not None:  # where dropout is drawn
            for process, generator in enumerate(everyone(torch.cuda.get_rng_state(device))):
                tensors[f"{_ON_CUDA}/{process}"] = generator
        tensors |= {f"state/{name}": whole(value).contiguous() for name, value in (state or {}).items()}
        if first_process():
            with staged(self.folder, {"format": "mllmu-med/checkpoint/2", "key": self.key}) as stage:
                stage.chmod(0o700)  # weights on their way may know what the finished model is there to forget
                save_file(tensors, stage / "state.safetensors")
                write_json(stage / "history.json", {"step": step, "history": history, "moments": moments})
        wait_for_all()

    def load(
        self,
        parameters: TrainableParameters,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Tensor] | None = None,
    ) -> tuple[int, list[dict[str, float]]] | None:
        """Restore the latest checkpoint into parameters, optimiser and ``state``.

        Returns:
            (steps done, curve), or None if there is none for this key and number of processes. A damaged checkpoint is
            removed and None returned: starting again is always right, resuming from wrong bytes never is.
        """
        from safetensors.torch import load_file

        if first_process():
            self._remove_if_damaged()
        wait_for_all()
        if not self.folder.exists() or read_manifest(self.folder).get("key") != self.key:
            return None
        tensors = load_file(self.folder / "state.safetensors")
        stored: dict[str, Any] = read_json(self.folder / "history.json")
        if sum(name.startswith("generator/") for name in tensors) != processes():
            return None
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(like(tensors[f"weight/{name}"], parameter))
        for name, parameter in parameters.items():
            held: dict[str, Any] = {}
            for entry in ("exp_avg", "exp_avg_sq"):
                if f"{entry}/{name}" in tensors:
                    held[entry] = like(tensors[f"{entry}/{name}"], parameter)
            if f"step/{name}" in stored["moments"]:  # fused AdamW wants it beside the weights
                steps = stored["moments"][f"step/{name}"]
                held["step"] = torch.tensor(steps, dtype=torch.float32, device=parameter.device)
            optimizer.state[parameter] = held
        if state is not None:
            for name, value in tensors.items():
                if name.startswith("state/"):
                    key = name.removeprefix("state/")
                    state[key] = like(value, state[key]) if key in state else value
        torch.set_rng_state(tensors[f"generator/{own_rank()}"])
        if (device := _cuda(parameters)) is not None and f"{_ON_CUDA}/{own_rank()}" in tensors:
            torch.cuda.set_rng_state(tensors[f"{_ON_CUDA}/{own_rank()}"], device)
        return stored["step"], stored["history"]

    def _remove_if_damaged(self) -> None:
        try:
            if self.folder.exists():
                verify(self.folder)
        except (DataError, IntegrityError):
            shutil.rmtree(self.folder)


def _cuda(parameters: TrainableParameters) -> torch.device | None:
    """The CUDA device on which they train, if they do."""
    device = next(iter(parameters.values())).device
    return device if device.type == "cuda" else None
