"""Ask a served model what the models of a run were asked: a row from answers alone, of a model nobody has trained here.

The row lies in ``evaluations/NAME`` like any other; its manifest has the section ``served``, and there is no
``models/NAME``. With attacks, their attempts lie in ``attacks/NAME``.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mllmu_med.attacks.black_box.ask import ask as carry_out
from mllmu_med.attacks.interface import Asking, Attempt
from mllmu_med.attacks.store import keep
from mllmu_med.benchmark.describing import holds_real_values
from mllmu_med.engines.answer_store import AnswerStore, discard, kept
from mllmu_med.engines.endpoint import Endpoint, Served
from mllmu_med.engines.stored import Stored
from mllmu_med.errors import DataError, UsageError
from mllmu_med.evaluation.grid import asked
from mllmu_med.evaluation.measure import measure
from mllmu_med.evaluation.output_store import write_outputs
from mllmu_med.evaluation.outputs import Output
from mllmu_med.evaluation.probe_images import image_loader
from mllmu_med.folders import MANIFEST, digest, read_json, read_manifest, staged
from mllmu_med.models.generation import Prompt
from mllmu_med.pipeline.attacking import attacks_of, data_of, served_attack_key
from mllmu_med.pipeline.evaluating import answers_folder, asked_samples
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe
from mllmu_med.recipe.settings import RESERVED_ROWS

log = logging.getLogger("mllmu_med")

FAMILY = "served"
_ROW = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}")
_MANY_EMPTY = 0.5


@dataclass(frozen=True)
class AskingPlan:
    """What asking a served model takes.

    Attributes:
        folder: where the row is written.
        server, model: who is asked.
        questions: answers to be given, draws of attacks included; ``with_image`` of them are about an image.
        images: different images that are sent.
        prompt_tokens: of all questions' texts, roughly; what an image takes, only the server knows.
        answer_tokens: of all answers, at most.
        attacks: black-box attacks that are carried out.
        kept: answers that an interrupted attempt has left.
    """

    folder: Path
    server: str
    model: str
    questions: int
    with_image: int
    images: int
    prompt_tokens: int
    answer_tokens: int
    attacks: tuple[str, ...]
    kept: int


class Errand:
    """One served model, one row of one run.

    Args:
        output: the run's folder; its recipe says what is asked.
        row: name of the row.
        attacks: also carry out the black-box attacks of the run's recipe.
        trusted: the server may see values of real people although it stands outside of the private network.

    Raises:
        DataError: the folder holds no run of this version with a benchmark.
        UsageError: the row's name cannot be used, there is nothing to attack with, or the server must not be told.
    """

    def __init__(self, output: Path, served: Served, row: str, *, attacks: bool = False, trusted: bool = False) -> None:
        self.output, self.served, self.row = output, served, row
        self.workshop = Workshop(_recipe(output), output)
        self.folder = output / "evaluations" / row
        self._check_row()
        self.attacks = {n: a for n, a in attacks_of(self.workshop).items() if isinstance(a, Asking)} if attacks else {}
        if attacks and not self.attacks:
            raise UsageError(f"the recipe of {output} names no black-box attack; see mllmu-med ls attacks")
        address = served.address
        if holds_real_values(self.workshop.benchmark.manifest) and not address.in_house and not trusted:
            raise UsageError(
                f"the benchmark holds values of real people, and '{address.host}' is neither this machine nor an "
                "address of the private network; serve the model there, or say that the host may see them with "
                "--trust-host"
            )

    def _check_row(self) -> None:
        if not _ROW.fullmatch(self.row):
            raise UsageError(f"'{self.row}' cannot name a row: use letters, digits, dot, plus, minus and underscore")
        taken = {*RESERVED_ROWS, *(method.row for method in self.workshop.recipe.methods)}
        is_own = (self.folder / MANIFEST).is_file() and "served" not in read_manifest(self.folder)
        if self.row in taken or is_own:
            raise UsageError(f"'{self.row}' is a row of the run itself; give the served model another --row")

    @cached_property
    def key(self) -> str:
        """Of what is asked, and of whom."""
        served = self.served
        server = {"url": str(served.address), "model": served.model, "body": dict(served.body)}
        return digest({"asked": asked_key(self.workshop), "served": server})

    def store(self) -> AnswerStore:
        """The answers of an unfinished attempt."""
        return AnswerStore(answers_folder(self.folder), self.key)

    def plan(self) -> AskingPlan:
        """What it takes; nothing is written and nobody is asked."""
        recipe = self.workshop.recipe
        grid = asked(asked_samples(self.workshop), probes=recipe.evaluate.probe_families, seed=recipe.seed)
        different = dict.fromkeys(Prompt(a.image, a.question) for a in grid)
        prompts = [(prompt, 1) for prompt in different] + list(self._attacking())
        return AskingPlan(
            folder=self.folder,
            server=str(self.served.address),
            model=self.served.model,
            questions=sum(draws for _, draws in prompts),
            with_image=sum(draws for prompt, draws in prompts if prompt.image is not None),
            images=len({prompt.image for prompt, _ in prompts} - {None}),
            prompt_tokens=sum(draws * roughly_tokens(prompt.question) for prompt, draws in prompts),
            answer_tokens=recipe.evaluate.max_new_tokens * sum(draws for _, draws in prompts),
            attacks=tuple(self.attacks),
            kept=kept(answers_folder(self.folder), self.key),
        )

    def _attacking(self) -> Iterable[tuple[Prompt, int]]:
        """Questions of the attacks, as they are asked: equal ones of an attack once."""
        data = data_of(self.workshop) if self.attacks else None
        for attack in self.attacks.values():
            assert data is not None
            queries = (query for sample in data.targets for query in attack.queries(sample, data))
            different = {(Prompt(query.image, query.question), query.draws) for query in queries}
            yield from ((prompt, max(1, draws)) for prompt, draws in different)

    def run(self, *, afresh: bool = False) -> Path:
        """Ask everything and write the row.

        An interrupted attempt goes on where it was. What is finished is never taken for an answer of today: nobody can
        see from here whether the served model is still the same.

        Args:
            afresh: ask everything again, and replace the row if there is one.

        Returns:
            the row's folder.

        Raises:
            UsageError: the row is finished, and ``afresh`` is not set; or see :class:`Endpoint`.
        """
        if afresh:
            discard(answers_folder(self.folder))
        elif (self.folder / MANIFEST).is_file():
            raise UsageError(
                f"'{self.row}' has been asked already, and the served model may have changed since: ask it again with "
                "--afresh, or under another --row"
            )
        began = time.perf_counter()
        endpoint = Endpoint(self.served, image_loader(self.workshop.benchmark))
        with self.store() as store:
            already = len(store)
            if already:
                log.warning(
                    "%d answers of an interrupted attempt are used; if the served model has changed since, begin again "
                    "with --afresh", already,
                )  # fmt: skip
            engine = Stored(endpoint, store)
            outputs, attempts = self._ask(engine)
        facts = {
            "format": "mllmu-med/stage/1",
            "key": self.key,
            "asked": asked_key(self.workshop),
            "served": {
                "url": str(self.served.address),
                "model": self.served.model,
                "body": dict(self.served.body),
                "fingerprints": sorted(endpoint.fingerprints),
                "requests": endpoint.requests,
                "kept": already,
            },
            "attacks": sorted(attempts),
            "seconds": round(time.perf_counter() - began, 3),
        }
        self._write(facts, outputs, attempts)
        discard(answers_folder(self.folder))
        self._warn(outputs, endpoint)
        return self.folder

    def _ask(self, engine: Stored) -> tuple[list[Output], dict[str, list[Attempt]]]:
        recipe = self.workshop.recipe
        outputs = measure(
            engine, asked_samples(self.workshop), max_new_tokens=recipe.evaluate.max_new_tokens,
            probes=recipe.evaluate.probe_families, seed=recipe.seed, title=f"ask {self.row}",
        )  # fmt: skip
        if not self.attacks:
            return outputs, {}
        data = data_of(self.workshop)
        attempts = {
            name: carry_out(name, attack, engine, data, title=f"{name} on {self.row}")
            for name, attack in self.attacks.items()
        }
        return outputs, attempts

    def _write(self, facts: dict[str, Any], outputs: list[Output], attempts: dict[str, list[Attempt]]) -> None:
        mode = (self.output / "benchmark").stat().st_mode  # closed to others where it holds real values
        if attempts:
            data = data_of(self.workshop)
            about = {**facts, "stage": f"attack {self.row}", "targets": len(data.targets)}
            with staged(self.output / "attacks" / self.row, about) as folder:
                folder.chmod(mode)
                for name, made in attempts.items():
                    key = served_attack_key(self.workshop.recipe, self.key, name)
                    keep(folder, name, made, key=key, seconds=0.0, notes=None, peak_memory_mb=0.0)
        else:  # those of an earlier model are not this one's
            shutil.rmtree(self.output / "attacks" / self.row, ignore_errors=True)
        counts = {
            "outputs": len(outputs),
            "empty": sum(not output.generated for output in outputs),
            "truncated": sum(output.truncated for output in outputs),
        }
        # The evaluation last: a row that has one is finished.
        with staged(self.folder, {**facts, **counts, "stage": f"evaluate {self.row}"}) as folder:
            folder.chmod(mode)
            write_outputs(outputs, folder)

    def _warn(self, outputs: list[Output], endpoint: Endpoint) -> None:
        """Say what hints that the server was not asked as it was meant to be."""
        empty = sum(not output.generated for output in outputs) / max(1, len(outputs))
        cut = sum(output.truncated for output in outputs) / max(1, len(outputs))
        if empty > _MANY_EMPTY:
            log.warning(
                "%.0f %% of the answers are empty: if the model thinks before it answers, switch that off with --body",
                100 * empty,
            )
        elif cut > _MANY_EMPTY:
            log.warning("%.0f %% of the answers meet the limit of evaluate.max_new_tokens", 100 * cut)
        if len(endpoint.fingerprints) > 1:
            log.warning(
                "the server named %d different states of itself (system_fingerprint): was it changed meanwhile?",
                len(endpoint.fingerprints),
            )


def asked_key(workshop: Workshop) -> str:
    """Digest of all questions that a row of this run is asked; how rows are scored does not matter."""
    recipe = workshop.recipe
    how = recipe.evaluate.model_dump(mode="json", include={"max_new_tokens", "probes", "part", "ordinary_samples"})
    return digest({"benchmark": workshop.benchmark.manifest.get("key"), "seed": recipe.seed, "evaluate": how})


def served_rows(workshop: Workshop) -> dict[str, dict[str, Any]]:
    """The rows that were asked of served models, by name, with what a table says of them; they have no cost.

    A row that was asked other questions than the run asks now is left out, with a warning.
    """
    found = {}
    for path in sorted((workshop.output / "evaluations").glob(f"[!.]*/{MANIFEST}")):
        manifest = read_manifest(path.parent)
        if "served" not in manifest:
            continue
        name, server = path.parent.name, manifest["served"]
        if manifest["asked"] != asked_key(workshop):
            log.warning("%s was asked other questions than this run asks now: left out; ask it again", name)
            continue
        found[name] = {
            "label": name,
            "role": "method",
            "family": FAMILY,
            "source": None,
            "summary": f"{server['model']}, asked at {server['url']}",
        }
    return found


def roughly_tokens(text: str) -> int:
    """Tokens of a text by rule of thumb: one for four letters, one for each sign of Chinese, Japanese or Korean."""
    wide = sum(sign >= "\u2e80" for sign in text)
    return wide + -(-(len(text) - wide) // 4)


def _recipe(output: Path) -> Recipe:
    path = output / "recipe.json"
    if not path.is_file() or not (output / "benchmark" / MANIFEST).is_file():
        raise DataError("not a run with a benchmark", file=output, mend="Give the folder of a run, e.g. runs/phantom.")
    try:
        return Recipe.model_validate(read_json(path))
    except ValidationError:
        raise DataError("made by another version", file=path, mend="Run the recipe again.") from None
