from typing import Any

from mllmu_med.report.answer import answer_in_words


def test_the_verdict_comes_first_and_every_figure_is_the_results(results: dict[str, Any]) -> None:
    sentences = answer_in_words(results)
    assert sentences[0] == "Six methods were asked to unlearn: one succeeds, four succeed in part and one fails."
    assert "gives away 97 % of the private values of 12 patients and repeats 100 % of the wrong facts" in sentences[1]
    assert "the oracle θ*) gives away 0 % and repeats 4 %" in sentences[1]
    assert sentences[2].startswith(
        "NPO comes nearest to the oracle: it gives away 3 % of the private values (6 % under"
    )
    assert sentences[2].endswith(
        "still tells 94 % of the values of the 36 patients who stay (the oracle 97 %), at 23 % of the cost of "
        "retraining."
    )
    assert sentences[3] == (
        "Simply stopping retraining early at 25 % of the full cost scores 0.09 (it tells 2 % of the values of the "
        "patients who stay); NPO, GradDiff, KL-Min, LLMU and IDK do better."
    )
    assert sentences[4] == (
        "On unseen questions θ0 scores 88 %, where always giving the most frequent answer scores 32 %."
    )


def test_a_model_that_learnt_nothing_is_said_to_have_learnt_nothing(results: dict[str, Any]) -> None:
    results["benchmark"]["majority"] = 0.86
    assert "hardly learnt the task" in answer_in_words(results)[-1]


def test_retraining_that_cannot_be_beaten_is_named(results: dict[str, Any]) -> None:
    short = next(row for row in results["rows"] if row["name"] == "truncated_retrain")
    for task in ("privacy", "incorrectness"):
        short["ues"][task]["value"] = 0.999
    told = "it tells 2 % of the values of the patients who stay"
    assert f"scores 0.999 ({told}); no method does better." in " ".join(answer_in_words(results))


def test_of_many_methods_none_is_named_but_the_best(results: dict[str, Any]) -> None:
    methods = [row for row in results["rows"] if row["role"] == "method"]
    results["rows"] += [{**row, "name": f"{row['name']}-{again}"} for row in methods for again in range(2)]
    sentences = answer_in_words(results)
    assert sentences[0] == "18 methods were asked to unlearn: 3 succeed, 12 succeed in part and 3 fail."
    assert sentences[3].endswith("stay); 15 of 18 methods do better.")


def test_what_was_not_measured_is_not_said() -> None:
    bare = {"format": "mllmu-med/results/1", "rows": [{"name": "theta0", "role": "reference"}]}
    assert answer_in_words(bare) == ["No unlearning method was run."]
    alone = {**bare, "rows": [*bare["rows"], {"name": "npo", "role": "method", "verdict": {"level": "failure"}}]}
    assert answer_in_words(alone) == ["One method was asked to unlearn: one fails."]
