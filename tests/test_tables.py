"""Tables: columns and rows, and what is kept of them in files."""

import math

import numpy as np
import pytest

from ncourse.tables import Table
from ncourse.training import History

TABLE = Table({"run": ["a", "a", "b"], "epoch": [1, 2, 1], "nc1": [0.5, 0.25, math.inf]})


def test_columns_are_those_of_a_mapping_and_copied():
    given = {"epoch": [1, 2]}
    table = Table(given)
    given["epoch"].append(3)
    assert table == {"epoch": [1, 2]} == dict(table)
    assert Table(table) == table
    assert table != {"epoch": [1, 3]}
    assert table != Table({"epoch": [1, 3]})
    with pytest.raises(KeyError, match="no column 'nc9'; there are run, epoch, nc1"):
        TABLE["nc9"]
    with pytest.raises(
        ValueError, match=r"^the columns of a table are not equally long: a 1, b 2$"
    ):
        Table({"a": [1], "b": [1, 2]})


def test_a_table_whose_columns_are_read_as_arrays_is_copied_and_compared_as_it_is_kept():
    history = History({"epoch": [1, 2], "nc1": [0.5, 0.25]})
    assert isinstance(history["nc1"], np.ndarray)
    assert history == History({"epoch": [1, 2], "nc1": [0.5, 0.25]})
    assert history != History({"epoch": [1, 2], "nc1": [0.5, 0.5]})
    assert [type(value) for value in Table(history)["epoch"]] == [int, int]


def test_what_is_no_mapping_equals_no_table():
    assert TABLE != 1
    assert TABLE.__eq__(1) is NotImplemented


def test_rows_and_back():
    assert TABLE.rows()[1] == {"run": "a", "epoch": 2, "nc1": 0.25}
    assert Table.of(TABLE.rows()) == TABLE
    assert Table.of([], ["a", "b"]) == {"a": [], "b": []}
    assert Table.of([]) == {}
    assert list(Table.of([{"b": 1, "a": 2}], ["a", "b"])) == ["a", "b"]
    with pytest.raises(ValueError, match="a row has the columns a, c; expected a, b"):
        Table.of([{"a": 1, "b": 2}, {"a": 1, "c": 2}])


def test_some_rows_and_the_last():
    assert TABLE.where(run="a").last == {"run": "a", "epoch": 2, "nc1": 0.25}
    assert TABLE.where(run="a", epoch=1)["nc1"] == [0.5]
    assert TABLE.where(run="c") == {"run": [], "epoch": [], "nc1": []}
    with pytest.raises(KeyError, match="no column 'seed'"):
        TABLE.where(seed=1)
    with pytest.raises(IndexError, match="the table has no rows; its columns are run, epoch, nc1"):
        _ = TABLE.where(run="c").last


def test_a_file_keeps_numbers_and_words(tmp_path):
    table = Table(
        {"n": [1, -2], "x": [0.1 + 0.2, math.inf], "yes": [True, False], "word": ["a,b", 'c"d']}
    )
    again = Table.load(table.save(tmp_path / "t.csv"))
    assert again == table
    assert [type(value) for value in again.rows()[0].values()] == [int, float, bool, str]
    assert Table.load(Table({"a": []}).save(tmp_path / "t.csv")) == {"a": []}


def test_a_file_has_lines_of_one_kind_and_words_keep_theirs(tmp_path):
    table = Table({"n": [1, 2], "word": ["a\r\nb", "c\nd"]})
    path = table.save(tmp_path / "t.csv")
    assert path.read_bytes() == b'n,word\n1,"a\r\nb"\n2,"c\nd"\n'
    assert Table.load(path) == table


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(ValueError, match=r"t\.csv is not a table: expected CSV \('utf-8' codec"):
        Table.load(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "do not match"),
        ("a,a\n1,2\n", "do not match"),
        ("a,b\n1\n", "do not match"),
        ("a,b\n1,2.5", "not a whole table"),
    ],
)
def test_what_is_no_whole_table_is_refused_by_name(tmp_path, text, why):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"t\.csv is not .*{why}|t\.csv is {why}"):
        Table.load(tmp_path / "t.csv")


def test_html_shows_four_digits_and_no_markup_of_others():
    assert Table({"<i>": ["<b>", "c"], "x": [0.123456, 2.0]})._repr_html_() == (
        "<table><tr><th>&lt;i&gt;</th><th>x</th></tr><tr><td>&lt;b&gt;</td><td>0.1235</td></tr>"
        "<tr><td>c</td><td>2</td></tr></table>"
    )
