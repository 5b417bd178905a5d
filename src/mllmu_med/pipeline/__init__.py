"""One recipe, carried out stage by stage; finished stages are reused, an interrupted one resumes."""

from __future__ import annotations

from mllmu_med.pipeline.running import RunResult, make_again, plan_run, run
from mllmu_med.pipeline.stage import StagePlan

__all__ = ["RunResult", "StagePlan", "make_again", "plan_run", "run"]
