"""The peers' own, unmodified code from a checkout, timed beside our fast path.

    git clone https://github.com/locuslab/open-unlearning
    git clone https://github.com/franciscoliu/MLLMU-Bench
    python benchmarks/peers.py --peer open-unlearning=open-unlearning --peer MLLMU-Bench=MLLMU-Bench
    python benchmarks/peers.py --peer MLLMU-Bench=MLLMU-Bench --python PEERS_OWN_VENV/bin/python

open-unlearning: its trainer classes (``src/trainer/unlearn``) are imported from the path and their ``compute_loss`` is
called on batches of 4 + 4 records. Its trainers take text alone, so the records have no image here; the package's own
``__init__``, which needs omegaconf for its registry, is not run. Its loss is compared with ours (1e-4) before timing.

MLLMU-Bench: its script (``baselines/NPO.py``, ``GA_Difference.py``, ``KL_Min.py``) is run as it is in a process of its
own on a folder in its format, for one epoch and for eleven; a tenth of the difference is an epoch without loading. It
trains the prompt as well, so its loss is another one and is not compared. Where transformers no longer has ``AdamW``
(from version 5 on), torch's stands in its place; nothing else is changed.

A peer that cannot run is named with the reason in one line; nothing is made up in its place.
"""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.speed import clock, machine, options, records, tables
from benchmarks.speed.objectives import objective
from benchmarks.speed.peers_step import BATCH, IGNORED, Sequences, collate, token_losses
from benchmarks.speed.sizes import SIZES
from benchmarks.speed.ways import Fast, Task, another, new_model
from mllmu_med.errors import MedError
from mllmu_med.models.vlm import VisionLanguageModel

SCRIPTS = {"npo": "NPO.py", "grad_diff": "GA_Difference.py", "kl_min": "KL_Min.py"}
COLUMNS = {"peer": "peer", "method": "objective", "records": "records", "theirs_ms": "theirs, ms a record",
           "ours_ms": "ours, ms a record", "ratio": "×", "said": "remark"}  # fmt: skip
EPOCHS = 10
"""Between the two runs of a script: what loading takes differs by seconds from run to run."""
LAUNCH = """
import runpy, sys
import peft, torch  # peft first: it makes transformers put another module in its place
import transformers
transformers = sys.modules["transformers"]
if not hasattr(transformers, "AdamW"):
    transformers.AdamW = torch.optim.AdamW
torch.set_num_threads(int(sys.argv[1]))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def text_only(work: records.Workload) -> records.Workload:
    """The same questions without their images."""
    forget, retain = ([replace(sample, image_id=None) for sample in side] for side in (work.forget, work.retain))
    return records.Workload(forget, retain, work.loader, f"{work.source}, without images")


# --- open-unlearning --------------------------------------------------------------------------------------------------


def import_trainers(checkout: Path) -> tuple[Any, Any]:
    """Its GradDiff and NPO, from unmodified files; the package's ``__init__`` (a registry for Hydra) is left out.

    Raises:
        MedError: they are not there, or cannot be imported.
    """
    source = checkout / "src"
    if not (source / "trainer" / "unlearn" / "npo.py").is_file():
        raise MedError(f"{checkout} holds no src/trainer/unlearn/npo.py: is it a checkout of open-unlearning?")
    package = types.ModuleType("trainer")
    package.__path__ = [str(source / "trainer")]
    sys.modules["trainer"] = package
    try:
        grad_diff = importlib.import_module("trainer.unlearn.grad_diff").GradDiff
        npo = importlib.import_module("trainer.unlearn.npo").NPO
    except ImportError as error:
        raise MedError(f"its trainers cannot be imported: {error}") from error
    return grad_diff, npo


def their_trainer(checkout: Path, method: str, model: Any, folder: Path) -> Any:
    """A trainer of theirs around the model."""
    from transformers import TrainingArguments

    grad_diff, npo = import_trainers(checkout)
    arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[], per_device_train_batch_size=BATCH)
    if method == "npo":
        return npo(beta=float(objective("npo").objective.beta), model=model, args=arguments)  # type: ignore[attr-defined]
    return grad_diff(model=model, args=arguments, retain_loss_type="KL" if method == "kl_min" else "NLL")


@torch.no_grad()
def expected_loss(vlm: VisionLanguageModel, method: str, forget: Sequences, retain: Sequences) -> float:
    """Their loss of one pair of batches at θ0, from our own forward pass: token means, and no KL or ratio yet."""

    def mean(batch: Sequences) -> float:
        losses = token_losses(vlm.model(**batch.inputs).logits, batch.labels)
        return float(losses.sum() / (batch.labels[:, 1:] != IGNORED).sum())

    beta = float(getattr(objective(method).objective, "beta", 1.0))
    first = 2 / beta * float(torch.log(torch.tensor(2.0))) if method == "npo" else -mean(forget)
    return first + (0.0 if method == "kl_min" else mean(retain))


def open_unlearning(checkout: Path, task: Task, work: records.Workload, repeats: int) -> dict[str, Any]:
    """Their ``compute_loss`` on text, in batches of 4 + 4, against our step on the same text."""
    if task.device != "cpu":
        raise MedError("timed on the CPU only")
    work = text_only(work)
    theta0 = new_model(task, work)
    twin = another(theta0, own_product=False)
    pairs = [
        tuple(collate(twin, [records.question(one) for one in side[start : start + BATCH]])
              for side in (work.forget, work.retain))
        for start in range(0, min(len(work.forget), len(work.retain)), BATCH)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, parameter in twin.model.named_parameters():
            parameter.requires_grad_("language_model" in name or "lm_head" in name)
        trainer = their_trainer(checkout, task.method, twin.model, Path(folder))
        inputs = [{side: {**batch.inputs, "labels": batch.labels}
                   for side, batch in zip(("forget", "retain"), pair, strict=True)} for pair in pairs]  # fmt: skip
        twin.model.eval()
        found = float(trainer.compute_loss(twin.model, inputs[0]))
        difference = clock.near([found], [expected_loss(theta0, task.method, *pairs[0])], 1e-4)
        parameters = [parameter for parameter in twin.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)

        def theirs() -> float:
            twin.model.train()
            began = time.perf_counter()
            for pair in inputs:
                (trainer.compute_loss(twin.model, pair) / len(inputs)).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return time.perf_counter() - began

        fast = Fast(task, work, another(theta0, own_product=True))
        times = clock.interleaved({"theirs": theirs, "ours": lambda: fast.seconds(task.numbers.steps)}, repeats=repeats)
    return compared_row("open-unlearning", task.method, len(work.samples), times["theirs"].median, times["ours"].median,
                        f"text alone, its trainers take no images; loss equal to {difference:.1e}")  # fmt: skip


# --- MLLMU-Bench ------------------------------------------------------------------------------------------------------


def write_split(work: records.Workload, folder: Path) -> None:
    """Forget and retain records in MLLMU-Bench's format: a row an image, its questions as JSON."""
    import pandas

    for name, side in (("forget_5", work.forget), ("retain_95", work.retain)):
        rows = []
        for image in dict.fromkeys(sample.image_id for sample in side):
            buffer = io.BytesIO()
            work.loader(str(image)).save(buffer, format="PNG")
            asked = [{"Question": s.question, "Answer": s.answer} for s in side if s.image_id == image]
            rows.append({"ID": image, "image": {"bytes": buffer.getvalue()}, "metadata": json.dumps(asked)})
        (folder / name).mkdir(parents=True)
        pandas.DataFrame(rows).to_parquet(folder / name / "train-00000-of-00001.parquet")


def script_seconds(checkout: Path, script: str, folder: Path, epochs: int, python: str) -> float:
    """Wall time of the peer's script.

    Raises:
        MedError: it failed; the last line of what it said.
    """
    arguments = ["--model_id", "llava-local", "--vanilla_dir", "llava-local", "--save_dir", f"saved-{epochs}",
                 "--data_split_dir", "split", "--batch_size", str(BATCH), "--num_epochs", str(epochs)]  # fmt: skip
    if script == "NPO.py":
        arguments += ["--oracle_model_id", "llava-local"]
    place = (checkout / "baselines" / script).resolve()
    command = [python, "-c", LAUNCH, str(torch.get_num_threads()), str(place), *arguments]
    environment = {**machine.environment(), "PYTHONPATH": str(checkout.resolve()), "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise MedError(f"{script} stopped: {said[-1] if said else f'exit status {done.returncode}'}")
    return time.perf_counter() - began


def mllmu_bench(checkout: Path, task: Task, work: records.Workload, repeats: int, python: str) -> dict[str, Any]:
    """Their script for one epoch and for ``EPOCHS`` more, against our step on the same records."""
    from mllmu_med.models.store import save_model

    if task.method not in SCRIPTS:
        raise MedError(f"it has no script for {task.method}; it has them for {', '.join(SCRIPTS)}")
    if not (checkout / "baselines" / SCRIPTS[task.method]).is_file():
        raise MedError(f"{checkout} holds no baselines/{SCRIPTS[task.method]}: is it a checkout of MLLMU-Bench?")
    theta0 = new_model(task, work)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(theta0, folder / "llava-local")
        write_split(work, folder / "split")
        once = script_seconds(checkout, SCRIPTS[task.method], folder, 1, python)
        longer = script_seconds(checkout, SCRIPTS[task.method], folder, 1 + EPOCHS, python)
    if longer <= once:
        raise MedError("its epochs are lost in the noise of loading; try more records (--images)")
    fast = Fast(task, work, another(theta0, own_product=True))
    ours = clock.interleaved({"ours": lambda: fast.seconds(task.numbers.steps)}, repeats=repeats)["ours"].median
    counted = len(work.forget) if task.method == "npo" else len(work.samples)
    theirs = (longer - once) / EPOCHS * len(work.samples) / counted
    return compared_row("MLLMU-Bench", task.method, len(work.samples), theirs, ours,
                        "its script as released: LoRA, prompts trained too, so the loss is another one"
                        + (", forget records alone" if task.method == "npo" else ""))  # fmt: skip


def compared_row(peer: str, method: str, count: int, theirs: float, ours: float, said: str) -> dict[str, Any]:
    """A line of the table."""
    return {"peer": peer, "method": method, "records": count, "theirs_ms": 1000 * theirs / count,
            "ours_ms": 1000 * ours / count, "ratio": theirs / ours, "said": said}  # fmt: skip


def carry_out(asked: dict[str, Any]) -> dict[str, Any]:
    """Every peer with every objective; what cannot run is said in its row."""
    told = machine.describe(asked["device"])
    work = records.drawn(asked["images"] or SIZES[asked["size"]].images, asked["questions"], seed=asked["seed"])
    rows = []
    for peer in asked["peer"]:
        name, _, path = peer.partition("=")
        if name not in ("open-unlearning", "MLLMU-Bench") or not path:
            raise MedError(f"--peer {peer}: NAME=PATH with NAME open-unlearning or MLLMU-Bench")
        if not Path(path).is_dir():
            raise MedError(f"--peer {peer}: {path} is no folder")
        for method in asked["methods"]:
            task = Task(asked["size"], method, asked["device"], asked["seed"])
            run: Callable[[], dict[str, Any]]
            if name == "open-unlearning":
                run = lambda: open_unlearning(Path(path), task, work, asked["repeats"])  # noqa: B023, E731
            else:
                run = lambda: mllmu_bench(Path(path), task, work, asked["repeats"], asked["python"])  # noqa: B023, E731
            if method not in ("grad_diff", "npo", "kl_min"):
                continue
            try:
                rows.append(run())
            except MedError as error:
                rows.append({"peer": name, "method": method, "said": f"does not run here: {error}"})
    return {"script": "peers", "machine": told, "arguments": asked, "rows": rows, "goals": []}


def report(result: dict[str, Any]) -> str:
    """The table as Markdown."""
    head = f"The peers' own code beside our fast path, model `{result['arguments']['size']}`."
    return f"{head}\n\n{tables.markdown(result['rows'], COLUMNS)}\n{machine.in_words(result['machine'])}\n"


def main() -> None:
    """Parse, carry out, write."""
    parser = options.parser(__doc__ or "")
    parser.add_argument(
        "--peer", action="append", required=True, metavar="NAME=PATH", help="a checkout; may be repeated"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter for the peers' scripts, with what they need"
    )
    options.add_size(parser)
    parser.add_argument("--methods", nargs="+", choices=list(SCRIPTS), default=["npo", "grad_diff"],
                        metavar="OBJECTIVE", help=f"of {', '.join(SCRIPTS)}")  # fmt: skip
    parser.add_argument("--images", type=int, help="images on either side; default: by size")
    parser.add_argument("--questions", type=int, default=records.PER_IMAGE, help="per image")
    options.run(parser, "peers", carry_out, report, by_size=False)


if __name__ == "__main__":
    main()
