"""Per-sample outputs of one model: everything a metric may look at. Metrics never see a model."""

from __future__ import annotations

from dataclasses import dataclass

ORIGINAL = "original"
"""The probe that is the sample's own question, as it was trained."""


@dataclass(frozen=True, slots=True)
class Output:
    """What one model said to one (sample, probe), and how likely it held the trained answer to be.

    Attributes:
        sample_id: the benchmark sample.
        probe: :data:`ORIGINAL`, or the name of the sample's probe.
        question: the question as asked.
        generated: the greedy answer, special tokens removed. An empty answer is an answer.
        truncated: generation met the token limit before the end token.
        logprobs: log p(y_t | image, question, y_<t) in nats for each token of the trained answer (end token included);
            None for models that have no likelihoods (the refuse-all row).
        greedy: for each of these tokens, whether it was the most likely one.
        correct_logprobs: the same for ``correct_answer`` of incorrectness samples, else None.
        wrong_logprobs: the same for ``wrong_answer`` where it is not the trained answer (``wrong_unseen``), else None.
    """

    sample_id: str
    probe: str
    question: str
    generated: str
    truncated: bool = False
    logprobs: tuple[float, ...] | None = None
    greedy: tuple[bool, ...] | None = None
    correct_logprobs: tuple[float, ...] | None = None
    wrong_logprobs: tuple[float, ...] | None = None
