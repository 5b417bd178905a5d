"""A whole evaluation: our engine against batch-1 ``generate`` and one forward pass for each metric.

    python benchmarks/evaluate.py                           44 samples on the embedded model's size, a minute
    python benchmarks/evaluate.py --samples 1000 --size llava-7b --device cuda
    python benchmarks/evaluate.py --size small --samples 11 --probes 1

Every sample is asked in ``--probes`` wordings. Each wording takes a greedy answer, and ``--metrics`` metrics of its
answer's likelihood (probability, exact memorisation, extraction strength, Min-k%, …).

    ours    mllmu_med.engines.in_process.InProcess: the key-value cache of an image's prefix is shared by its questions,
            batches are sorted by length, one teacher-forced pass in packed rows feeds every metric;
    peers   as MLLMU-Bench's eval.py and open-unlearning's metrics do: ``model.generate`` on one question at a time with
            its image, and a forward pass of its own for each metric. Pixels are preprocessed once, which is kinder.

All texts must be the same and all log-probabilities equal to 1e-4 (float32) before anything is timed. The weights are
random, so nearly every answer runs to ``--tokens`` new tokens; SLAKE's answers have about four.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from benchmarks.speed import clock, machine, options, records, tables
from benchmarks.speed.peers_step import IGNORED, collate, token_losses
from benchmarks.speed.sizes import SIZES
from benchmarks.speed.ways import Task, another, new_model
from mllmu_med.engines.in_process import InProcess
from mllmu_med.errors import MedError
from mllmu_med.models.generation import Prompt
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import Question, VisionLanguageModel, forward_arguments

WORDINGS = ("{}", "Please answer: {}", "Doctor asks: {}", "For the record: {}", "In a word: {}", "Quick question: {}")
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
COLUMNS = {
    "way": "way", "part": "part", "median": "s", "least": "least", "most": "most", "per_sample_ms": "ms a sample",
    "ratio": "× faster than peers",
}  # fmt: skip


class Ours:
    """The engine in this process."""

    def __init__(self, vlm: VisionLanguageModel, batch: int, tokens: int) -> None:
        vlm.cache_features(True)
        self.engine, self.tokens = InProcess(vlm, batch), tokens

    def texts(self, questions: Sequence[Question]) -> list[str]:
        """Greedy answers, from images that nobody has looked at yet: what encoding them costs belongs to it."""
        self.engine.vlm.cache_features(False)
        self.engine.vlm.cache_features(True)
        prompts = [Prompt(question.image, question.question) for question in questions]
        return [answer.text for answer in self.engine.answers(prompts, max_new_tokens=self.tokens)]

    def logprobs(self, questions: Sequence[Question]) -> list[float]:
        """Sums of the answers' log-probabilities, as every metric reads them."""
        return [sum(found.logprobs) for found in self.engine.likelihoods(questions)]


class Peers:
    """One question at a time."""

    def __init__(self, vlm: VisionLanguageModel, tokens: int, metrics: int) -> None:
        self.vlm, self.tokens, self.metrics = vlm, tokens, metrics
        self.model = unwrap(vlm.model)

    @torch.no_grad()
    def texts(self, questions: Sequence[Question]) -> list[str]:
        """``generate`` on each."""
        found = []
        for question in questions:
            prompt = [*self.vlm.prefix(question.image), *self.vlm.branch(question).prompt]
            ids = torch.tensor([prompt], device=self.vlm.device)
            inputs: dict[str, Tensor] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            if question.image is not None:
                inputs |= self.vlm.pixel_inputs([self.vlm.images.get(question.image)])
                if "mm_token_type_ids" in forward_arguments(type(self.model)):
                    inputs["mm_token_type_ids"] = (ids == self.vlm.prompts.image_token_id).long()
            made = self.model.generate(**inputs, max_new_tokens=self.tokens, do_sample=False)
            found.append(self.vlm.prompts.decode(made[0, len(prompt) :].tolist()))
        return found

    @torch.no_grad()
    def logprobs(self, questions: Sequence[Question]) -> list[float]:
        """A forward pass of each question for each metric; the last metric's reading."""
        found: list[float] = []
        for _ in range(self.metrics):
            found = []
            for question in questions:
                batch = collate(self.vlm, [question])
                losses = token_losses(self.model(**batch.inputs).logits, batch.labels)
                found.append(-float(losses[batch.labels[:, 1:] != IGNORED].sum()))
        return found


def asked_questions(work: records.Workload, samples: int, probes: int) -> list[Question]:
    """Every sample in each wording."""
    return [
        Question(sample.image_id, wording.format(sample.question), sample.answer)
        for sample in work.samples[:samples]
        for wording in WORDINGS[:probes]
    ]


def carry_out(asked: dict[str, Any]) -> dict[str, Any]:
    """Compare, then time."""
    told, size = machine.describe(asked["device"]), SIZES[asked["size"]]
    images = -(-asked["samples"] // (2 * asked["questions"]))
    if asked["records"] == "slake":
        work = records.slake(images, seed=asked["seed"])
    else:
        work = records.drawn(images, asked["questions"], seed=asked["seed"])
    questions = asked_questions(work, asked["samples"], asked["probes"])
    vlm = new_model(Task(asked["size"], "npo", asked["device"], asked["seed"]), work)
    if not vlm.packed:
        raise MedError("packed rows are not exact for this model here: there is no fast path to time")
    ours = Ours(vlm, asked["batch"], asked["tokens"])
    peers = Peers(another(vlm, own_product=False), asked["tokens"], asked["metrics"])
    mine, theirs = ours.texts(questions), peers.texts(questions)
    different = sum(first != second for first, second in zip(mine, theirs, strict=True))
    exact = size.dtype == torch.float32
    if different and exact:
        raise MedError(f"{different} of {len(questions)} texts differ: nothing is timed")
    difference = clock.near(ours.logprobs(questions), peers.logprobs(questions), TOLERANCE[size.dtype])

    def timed(work: Any) -> Any:
        def seconds() -> float:
            machine.wait_for(asked["device"])
            began = time.perf_counter()
            work(questions)
            machine.wait_for(asked["device"])
            return time.perf_counter() - began

        return seconds

    parts = {"answers": "texts", "likelihoods": "logprobs"}
    ways = {"ours": ours, "peers": peers}
    found = clock.interleaved(
        {f"{way}/{part}": timed(getattr(made, name)) for part, name in parts.items() for way, made in ways.items()},
        repeats=asked["repeats"], warmups=0,
    )  # fmt: skip
    rows = []
    for part in (*parts, "whole"):
        of = {way: found[f"{way}/{part}"] if part != "whole" else
              clock.Spread(*(sum(found[f"{way}/{one}"][place] for one in parts) for place in range(3)))
              for way in ways}  # fmt: skip
        for way, times in of.items():
            rows.append({
                "way": way, "part": part, "median": times.median, "least": times.least, "most": times.most,
                "per_sample_ms": 1000 * times.median / asked["samples"], "ratio": of["peers"].median / times.median,
            })  # fmt: skip
    whole = next(row["ratio"] for row in rows if (row["way"], row["part"]) == ("ours", "whole"))
    return {
        "script": "evaluate", "machine": told, "arguments": asked, "asked": len(questions), "source": work.source,
        "different_texts": different, "difference": difference, "rows": rows,
        "goals": [tables.goal(f"whole evaluation over the peers', {asked['size']}", "≥ 20×", whole, whole >= 20)],
    }  # fmt: skip


def report(result: dict[str, Any]) -> str:
    """The tables as Markdown."""
    asked = result["arguments"]
    texts = "all texts the same" if not result["different_texts"] else (
        f"{result['different_texts']} texts differ by rounding in bfloat16")  # fmt: skip
    head = (
        f"Model `{asked['size']}`; {asked['samples']} samples ({result['source']}) in {asked['probes']} wordings, "
        f"{asked['metrics']} metrics of likelihood, at most {asked['tokens']} new tokens: {texts}, log-probabilities "
        f"equal to {result['difference']:.1e}; {asked['repeats']} interleaved repeats."
    )
    reached = tables.markdown(result["goals"], tables.GOAL_COLUMNS)
    lines = [head, "", tables.markdown(result["rows"], COLUMNS), reached, machine.in_words(result["machine"])]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse, carry out, write."""
    parser = options.parser(__doc__ or "")
    options.add_size(parser)
    parser.add_argument("--samples", type=int, default=44)
    parser.add_argument("--probes", type=int, default=3, choices=range(1, len(WORDINGS) + 1), metavar="1…6",
                        help="wordings of each sample")  # fmt: skip
    parser.add_argument("--metrics", type=int, default=4, help="metrics of likelihood")
    parser.add_argument("--tokens", type=int, default=8, help="most new tokens of an answer")
    parser.add_argument("--batch", type=int, default=128, help="of our engine; the recipe's `evaluate.batch`")
    parser.add_argument("--records", choices=("drawn", "slake"), default="drawn", help="default: drawn by seed")
    parser.add_argument("--questions", type=int, default=records.PER_IMAGE, help="per image, where they are drawn")
    options.run(parser, "evaluate", carry_out, report)


if __name__ == "__main__":
    main()
