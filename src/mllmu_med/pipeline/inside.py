"""The stages that look inside a model: its states, then what becomes of them in θ0, in the oracle and under probes.

Never two models in memory: states are written by the model they are of, and put into θ0 and the oracle later.
"""

from __future__ import annotations

from pathlib import Path

from mllmu_med.evaluation.rows import ORACLE_ROW, ORIGINAL_ROW
from mllmu_med.inside.depth_score import patched_logprobs
from mllmu_med.inside.lens import read_layers
from mllmu_med.inside.probe_rows import ProbeQuestion, probe_layers, probe_questions
from mllmu_med.inside.report import Inside, read_inside, write_inside, write_readings
from mllmu_med.inside.states import TokenStates, token_states
from mllmu_med.inside.telling import Told, told
from mllmu_med.memory import peak_memory_mb
from mllmu_med.models.prompts import PromptFormat
from mllmu_med.pipeline.evaluating import asked_samples
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.progress import bar

ANSWERS_FILE, PROBE_STATES_FILE = "answers.safetensors", "probes.safetensors"


def make_states(workshop: Workshop, name: str, folder: Path) -> Facts:
    """Hidden states of one model, and its logit lens. Two passes: over the facts, and over the probes' questions."""
    batch = workshop.recipe.evaluate.batch
    vlm = workshop.load(workshop.output / "models" / name, as_trained=True)
    facts = _facts(vlm.prompts, workshop)
    readings, gatherer = read_layers(vlm, facts, batch)
    write_readings(readings, folder)
    places = [place for place, one in enumerate(facts) if one.forgotten]
    gatherer.states(places).write(folder / ANSWERS_FILE, [facts[place].question for place in places])
    questions = [one.question for one in _probe_questions(vlm.prompts, workshop)]
    with bar("states for probes", len(questions)) as progress:
        states = token_states(vlm, questions, batch, progress)
    states.write(folder / PROBE_STATES_FILE, questions)
    return {"answers": len(facts), "patched": len(places), "probe_questions": len(questions),
            "peak_memory_mb": round(peak_memory_mb(vlm.device), 1)}  # fmt: skip


def inside_of(workshop: Workshop, name: str, folder: Path) -> Facts:
    """One model's stored states, put into θ0 and into the oracle one after the other, and read by linear probes."""
    states = workshop.output / "states" / name
    patched = []
    for target in (ORIGINAL_ROW, ORACLE_ROW):
        vlm = workshop.load(workshop.output / "models" / target, as_trained=True)
        facts = [one for one in _facts(vlm.prompts, workshop) if one.forgotten]
        own = TokenStates.read(states / ANSWERS_FILE, [one.question for one in facts])
        patched += patched_logprobs(vlm, target, facts, own, workshop.recipe.evaluate.batch)
        asked = _probe_questions(vlm.prompts, workshop)
        prompts, memory = vlm.prompts, peak_memory_mb(vlm.device)
        del vlm
    read = TokenStates.read(states / PROBE_STATES_FILE, [one.question for one in asked])
    write_inside(patched, probe_layers(prompts, asked, read, seed=workshop.recipe.seed), folder)
    return {"patched": len(patched), "peak_memory_mb": round(memory, 1)}


def stored_inside(workshop: Workshop, name: str) -> Inside:
    """What the two stages of a model have written."""
    return read_inside(workshop.output / "states" / name, workshop.output / "inside" / name)


def _facts(prompts: PromptFormat, workshop: Workshop) -> list[Told]:
    return told(prompts, asked_samples(workshop), seed=workshop.recipe.seed)


def _probe_questions(prompts: PromptFormat, workshop: Workshop) -> list[ProbeQuestion]:
    return probe_questions(prompts, workshop.samples, seed=workshop.recipe.seed)
