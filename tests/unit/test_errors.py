"""Errors: exit codes and messages a user can act on."""

from __future__ import annotations

import pytest

from mllmu_med.errors import DataError, IntegrityError, Interrupted, MedError, UsageError


@pytest.mark.parametrize(
    ("kind", "code"), [(MedError, 1), (UsageError, 2), (DataError, 3), (Interrupted, 5), (IntegrityError, 6)]
)
def test_exit_codes_are_the_documented_ones(kind: type[MedError], code: int) -> None:
    assert kind("x").exit_code == code
    assert issubclass(kind, MedError)


def test_a_data_error_names_file_record_reason_and_mend_in_this_order() -> None:
    error = DataError("the image is truncated", file="a/b.jpg", record=7, mend="Copy it again.")
    assert str(error) == "a/b.jpg, record 7: the image is truncated. Copy it again."
    assert (error.reason, error.file, error.record, error.mend) == (
        "the image is truncated", "a/b.jpg", 7, "Copy it again.",
    )  # fmt: skip


def test_a_data_error_without_a_place_is_its_reason() -> None:
    assert str(DataError("empty split")) == "empty split"
    assert str(DataError("no answer", record="q1")) == "record q1: no answer"
