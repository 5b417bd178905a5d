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
        confidence: mean log-probability (nats) of the generated answer's tokens; None where the engine tells none.
        blind_logprobs: as ``logprobs``, asked without the image; of forgotten and holdout patients' original questions
            about an image.
        expected, deviation: for each token of the trained answer, mean and standard deviation of log p(v) over the
            vocabulary under the model itself (nats).
        head_gradient: norm of the gradient of the trained answer's mean token loss with respect to the output head.
        cells: for each token of the trained answer, log-probabilities (nats) of 64 cells that part the vocabulary.

    The last four are stored where they are looked at: original questions of forget, holdout and test samples.
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
    confidence: float | None = None
    blind_logprobs: tuple[float, ...] | None = None
    expected: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    head_gradient: float | None = None
    cells: tuple[tuple[float, ...], ...] | None = None
