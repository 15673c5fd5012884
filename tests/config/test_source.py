"""Reading one file: encodings, syntax errors, how places are spelled."""

import pytest

from verismo.config.source import FILE_BYTES_MAX, Findings, Problem, dotted, open_source, suggestion


@pytest.mark.parametrize(
    ("data", "line", "part"),
    [
        (b"\xef\xbb\xbfa = 1\n", 1, "byte order mark"),
        ("a = 1\n".encode("utf-16"), 1, "byte order mark"),
        (b"a = 1\nb = '\xff'\n", 2, "UTF-8"),
        (b"a = 1\nb = \n", 2, "not TOML"),
        (b"a = 1\na = 2\n", 2, "not TOML"),
        (b'a = "open\n', 1, "not TOML"),
        (b"a = 1\n[open", 2, "not TOML"),
        (b"a = 1\0\n", 1, "not TOML"),
        (b"a = " + b"[" * 20_000, 1, "deep"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_one_problem_with_its_line(tmp_path, data, line, part):
    path = tmp_path / "x.toml"
    path.write_bytes(data)
    findings = Findings()
    assert open_source(path, "x.toml", findings) is None
    (problem,) = findings.errors
    assert problem.line == line
    assert part in problem.text


def test_a_huge_file_is_refused_unparsed(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    findings = Findings()
    assert open_source(path, "x.toml", findings) is None
    assert "bytes" in findings.errors[0].text


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path):
    findings = Findings()
    assert open_source(tmp_path, "folder", findings) is None
    assert str(findings.errors[0]).startswith("folder: cannot be read: ")


def test_windows_line_ends_do_not_move_lines(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"a = 1\r\nb = 2\r\n")
    source = open_source(path, "x.toml", Findings())
    assert source is not None
    assert source.place(("b",)) == "x.toml:2"


def test_a_problem_without_a_line_is_spelled_without_one():
    assert str(Problem("environment", 0, "text")) == "environment: text"


def test_key_paths_are_spelled_as_toml_spells_them():
    path = ("operations", "support.answer", "aliases", 0)
    assert dotted(path) == 'operations."support.answer".aliases[0]'


def test_suggestions_name_the_nearest_then_all_then_none():
    assert suggestion("prot", ["port", "host"]) == "; did you mean port?"
    assert suggestion("zzz", ["port", "host"]) == "; known: host, port"
    assert suggestion("zzz", []) == "; there is none"
    assert suggestion("zzz", [f"name{n}" for n in range(31)]) == ""
