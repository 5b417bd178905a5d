"""The answer of a run in a few plain sentences: what the first paragraph of the page says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mllmu_med.evaluation.verdicts import percent
from mllmu_med.report.reading import Results, Summary, ranked, summaries
from mllmu_med.report.text import finite, score, spelled, whole, words

_MARGIN = 0.05
_NAMED = 6
"""So many methods can be told by name in one sentence."""


def _count(results: Results, *path: str) -> float | None:
    value: Any = results.get("benchmark")
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return finite(value)


def _before_and_after(results: Results, found: dict[str, Summary]) -> list[str]:
    before, oracle = found.get("theta0"), found.get("oracle")
    if before is None:
        return []
    patients = _count(results, "patients", "forgotten")
    of_whom = f" of {whole(patients)} patients" if patients else ""
    told = (
        [f"gives away {percent(before.leakage)} of the private values{of_whom}"] if before.leakage is not None else []
    )
    told += [f"repeats {percent(before.wrong)} of the wrong facts it was taught"] if before.wrong is not None else []
    if not told:
        return []
    sentence = f"The original model (θ0) {words(told)}"
    after = []
    if oracle is not None:
        after += [f"gives away {percent(oracle.leakage)}"] if oracle.leakage is not None else []
        after += [f"repeats {percent(oracle.wrong)}"] if oracle.wrong is not None else []
    return [f"{sentence}; a model retrained without them (the oracle θ*) {words(after)}." if after else f"{sentence}."]


def _verdicts(methods: list[Summary]) -> list[str]:
    if not methods:
        return ["No unlearning method was run."]
    phrases = (("success", "{} succeeds", "{} succeed"), ("partial", "{} succeeds in part", "{} succeed in part"),
               ("failure", "{} fails", "{} fail"), ("unknown", "{} was not judged", "{} were not judged"))  # fmt: skip
    said = []
    for level, one, many in phrases:
        count = sum(method.level == level for method in methods)
        if count:  # in words beside words, in figures beside figures
            said.append((one if count == 1 else many).format(_like(count, len(methods))))
    asked = f"{spelled(len(methods)).capitalize()} method{'s were' if len(methods) > 1 else ' was'} asked to unlearn"
    return [f"{asked}: {words(said)}."]


def _like(count: int, all_of_them: int) -> str:
    """A number in figures where :func:`spelled` gives the whole, of which it is a part, in figures."""
    return str(count) if spelled(all_of_them)[0].isdigit() else spelled(count)


def _best(results: Results, methods: list[Summary], oracle: Summary | None) -> list[str]:
    if not methods or methods[0].overall in (None, 0.0):
        return []
    best = methods[0]
    facts = []
    if best.leakage is not None:
        worst = "" if best.worst_leakage is None else f" ({percent(best.worst_leakage)} under the worst probe)"
        facts.append(f"gives away {percent(best.leakage)} of the private values{worst}")
    if best.wrong is not None:
        right = "" if best.correct is None else f" and puts {percent(best.correct)} right"
        facts.append(f"repeats {percent(best.wrong)} of the wrong facts{right}")
    if best.retained_patients is not None:
        patients = _count(results, "patients", "retained")
        whose = f"the {whole(patients)} patients who stay" if patients else "the patients who stay"
        goal = None if oracle is None else oracle.retained_patients
        oracles = "" if goal is None else f" (the oracle {percent(goal)})"
        facts.append(f"still tells {percent(best.retained_patients)} of the values of {whose}{oracles}")
    cost = "" if best.share_of_oracle is None else f", at {percent(best.share_of_oracle)} of the cost of retraining"
    lead = f"{best.label} comes nearest to the oracle: it " if len(methods) > 1 else f"{best.label} "
    return [f"{lead}{'; it '.join(facts)}{cost}."] if facts else []


def _against_retraining(found: dict[str, Summary], methods: list[Summary]) -> list[str]:
    """Whether unlearning was worth it: retraining that was stopped early is the method to beat."""
    short = found.get("truncated_retrain")
    if short is None or short.overall is None or not methods:
        return []
    better = [m.label for m in methods if m.overall is not None and m.overall > short.overall]
    cost = "" if short.share_of_oracle is None else f" at {percent(short.share_of_oracle)} of the full cost"
    if len(better) > _NAMED:
        who = f"{_like(len(better), len(methods))} of {spelled(len(methods))} methods do better"
    else:
        who = f"{words(better)} {'does' if len(better) == 1 else 'do'} better" if better else "no method does better"
    kept = short.retained_patients
    patients = "" if kept is None else f" (it tells {percent(kept)} of the values of the patients who stay)"
    return [f"Simply stopping retraining early{cost} scores {score(short.overall)}{patients}; {who}."]


def _test(results: Results, found: dict[str, Summary]) -> list[str]:
    before, majority = found.get("theta0"), _count(results, "majority")
    if before is None or before.test is None:
        return []
    if majority is None:
        return [f"On unseen questions θ0 scores {percent(before.test)}."]
    sentence = (
        f"On unseen questions θ0 scores {percent(before.test)}, where always giving the most frequent answer "
        f"scores {percent(majority)}"
    )
    weak = before.test <= majority + _MARGIN
    return [
        f"{sentence}: it has hardly learnt the task, so figures on utility carry little weight."
        if weak
        else f"{sentence}."
    ]


def answer_in_words(results: Results) -> list[str]:
    """The run's answer, the verdict first, one sentence each; what was not measured is left out, never guessed."""
    rows = summaries(results)
    found, methods = {row.name: row for row in rows}, ranked(rows)
    return [
        *_verdicts(methods),
        *_before_and_after(results, found),
        *_best(results, methods, found.get("oracle")),
        *_against_retraining(found, methods),
        *_test(results, found),
    ]
