import pytest

from mllmu_med.benchmark.sample import Span
from mllmu_med.report.marking import marked, private_places

MRN = Span("mrn", "MRN-704311", 0, 10, 1e6)
NAME = Span("name", "Lena Okafor", 0, 11, 1e3)
DATE = Span("birth_date", "1961-03-07", 0, 10, 3e4)


def test_values_are_cut_out_where_they_stand() -> None:
    assert marked("Lena Okafor, record MRN-704311.", (MRN, NAME)) == ["", "Lena Okafor", ", record ", "MRN-704311", "."]
    assert marked("Nothing here.", (MRN, NAME)) == "Nothing here."


@pytest.mark.parametrize(
    ("text", "span", "found"),
    [
        ("mrn 704311", MRN, "mrn 704311"),
        ("LENA   OKAFOR!", NAME, "LENA   OKAFOR"),
        ("ﬁle: Léna Okafor", NAME, "Léna Okafor"),
        ("Okafor, Lena", NAME, "Okafor, Lena"),
        ("born on 7 March 1961.", DATE, "7 March 1961"),
        ("ﬀ　ＭＲＮ－７０４３１１", MRN, "ＭＲＮ－７０４３１１"),
    ],
)
def test_values_are_found_however_they_are_spelt(text: str, span: Span, found: str) -> None:
    ((start, end),) = private_places(text, (span,))
    assert text[start:end] == found


def test_places_that_overlap_are_merged() -> None:
    inner = Span("account", "704311", 0, 6, 1e6)
    assert private_places("x MRN-704311 y", (MRN, inner)) == [(2, 12)]


def test_pieces_give_the_text_back() -> None:
    text = "a MRN-704311 b MRN-704311"
    assert "".join(marked(text, (MRN,))) == text


def test_clipping_never_hides_a_leak() -> None:
    text = "x " * 5000 + "MRN-704311" + " y" * 5000
    pieces = marked(text, (MRN,), limit=100)
    assert isinstance(pieces, list)
    assert pieces[1::2] == ["MRN-704311"]
    assert "9,900 more characters" in pieces[0]
    assert sum(map(len, pieces)) < 250


def test_hidden_characters_are_shown() -> None:
    assert marked("a\x00\u202eb") == "a␀⟨U+202E⟩b"
    assert marked("\u202eMRN-704311\x00", (MRN,)) == ["⟨U+202E⟩", "MRN-704311", "␀"]
