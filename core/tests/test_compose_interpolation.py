"""Variables in Compose files, and `.env` files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.compose import dotenv
from multios.compose.interpolation import Malformed, substitute
from multios.errors import InvalidInput, MultiosError

VARIABLES = {"A": "one", "EMPTY": "", "N_2": "two", "DOLLAR": "$A"}


def put(text: str) -> str:
    return substitute(text, VARIABLES, lambda name: None)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$A", "one"), ("${A}", "one"), ("x${A}y$A", "xoney" + "one"), ("$A-$N_2", "one-two"), ("$$A", "$A"), ("$$$A", "$one"),
        ("$ABSENT.", "."), ("${ABSENT}", ""), ("$DOLLAR", "$A"), ("a}b{c", "a}b{c"), ("{$A}", "{one}"),
        ("${A:-d}", "one"), ("${EMPTY:-d}", "d"), ("${ABSENT:-d}", "d"), ("${A-d}", "one"), ("${EMPTY-d}", ""), ("${ABSENT-d}", "d"),
        ("${A:+r}", "r"), ("${EMPTY:+r}", ""), ("${ABSENT:+r}", ""), ("${A+r}", "r"), ("${EMPTY+r}", "r"), ("${ABSENT+r}", ""),
        ("${A:?e}", "one"), ("${EMPTY?e}", ""), ("${A?e}", "one"), ("${ABSENT:-}", ""), ("${ABSENT-$A}", "one"),
        ("${ABSENT:-${EMPTY:-${A}}}", "one"), ("${A:-${ABSENT:?no}}", "one"), ("${ABSENT:+${ABSENT:?no}}", ""),
        ('${ABSENT:-{"a": {"b": 1}}}', '{"a": {"b": 1}}'), ("${ABSENT:-a:-b}", "a:-b"), ("${ABSENT:-$$x}", "$x"),
        ("${ABSENT:-http://x:80/?a=b}", "http://x:80/?a=b"),
    ],
)  # fmt: skip
def test_variables_are_put_in_as_the_specification_has_it(text: str, result: str) -> None:
    assert put(text) == result


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("${ABSENT:?say why}", "variable ABSENT is required: say why"),
        ("${EMPTY:?}", "variable EMPTY is required"),
        ("${ABSENT?${A} is there}", "variable ABSENT is required: one is there"),
        ("$", "no variable's name follows the $"), ("a $1", "no variable's name"), ("$(date)", "no variable's name"),
        ("${}", "no variable's name"), ("${1}", "no variable's name"), ("${A", "${A is not closed"), ("${A:", "${A is not closed"),
        ("${A!x}", "${A is not closed, or followed"), ("${A:-x", "${A is not closed"), ("${A:=x}", "followed by something unknown"),
        ("${ABSENT:-${A}", "${ABSENT is not closed"),
    ],
)  # fmt: skip
def test_what_cannot_be_put_in_says_why(text: str, cause: str) -> None:
    with pytest.raises(Malformed) as caught:
        put(text)
    assert cause in caught.value.cause


def test_missing_variables_are_told_of_unless_there_is_a_default_or_they_are_not_needed() -> None:
    told: list[str] = []
    substitute("$ONE ${TWO} ${THREE:-x} ${A:-$FOUR} ${FIVE-$SIX}", VARIABLES, told.append)
    assert told == ["ONE", "TWO", "SIX"]


def test_nesting_and_length_are_bounded() -> None:
    with pytest.raises(Malformed, match="more than 32 deep"):
        put("${A:-" * 5000)
    with pytest.raises(Malformed, match="more than 1048576 characters"):
        substitute("$A" * 100, {"A": "x" * 100_000}, lambda name: None)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="AB{}$:-+?x1 \n", max_size=40))
def test_any_text_is_put_in_or_refused(text: str) -> None:
    try:
        result = put(text)
    except Malformed as error:
        assert error.cause and error.remedy
    else:
        assert "$" in text or result == text


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=50))
def test_dollars_that_are_doubled_stand_for_themselves(text: str) -> None:
    assert put(text.replace("$", "$$")) == text


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["A", "EMPTY", "ABSENT"]),
    st.sampled_from([":-", "-", ":+", "+"]),
    st.text(alphabet="ab :/.", max_size=8),
)
def test_modifiers_do_what_a_shell_does(name: str, operator: str, word: str) -> None:
    value = VARIABLES.get(name)
    is_set = bool(value) if ":" in operator else value is not None
    expected = (word if is_set else "") if "+" in operator else (value or "") if is_set else word
    assert put(f"<${{{name}{operator}{word}}}>") == f"<{expected}>"


# --- .env -----------------------------------------------------------------------------------------------------


def env(text: str, **variables: str) -> dict[str, str]:
    return dotenv.parse(text, ".env", variables)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB=two words\n", {"A": "1", "B": "two words"}),
        ("  A = 1  \n", {"A": "1"}), ("A=\nB= \n", {"A": "", "B": ""}), ("A: yes", {"A": "yes"}), ("A=b=c", {"A": "b=c"}),
        ("# comment\n\nA=1 # comment\nB=1#2\nC=#\nD=x\t# y", {"A": "1", "B": "1#2", "C": "", "D": "x"}),
        ("export A=1\nexport\tB=2\nexported=3\nexport=4", {"A": "1", "B": "2", "exported": "3", "export": "4"}),
        ("A='$B #x'\nB=\"a # b\" # c", {"A": "$B #x", "B": "a # b"}),
        ("A='it\\'s'\nB=\"say \\\"so\\\"\"", {"A": "it's", "B": 'say "so"'}),
        ('A="a\\nb\\tc\\\\d\\$B\\x"', {"A": "a\nb\tc\\d$B\\x"}), ("A='a\\nb'", {"A": "a\\nb"}),
        ('A="one\ntwo"\nB=\'three\nfour\'\nC=5', {"A": "one\ntwo", "B": "three\nfour", "C": "5"}),
        ("A=1\nB=${A}2\nC=\"$B-3\"\nD=${E:-d}", {"A": "1", "B": "12", "C": "12-3", "D": "d"}),
        ("A=$OUT\nOUT=mine\nB=$OUT", {"A": "outside", "OUT": "mine", "B": "outside"}),
        ("PASSWORD=pa$1s\nOTHER=x$\nTHIRD=a$$b", {"PASSWORD": "pa$1s", "OTHER": "x$", "THIRD": "a$b"}),
        ("OUT\nABSENT\nA=1", {"OUT": "outside", "A": "1"}), ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1", {"A": "1"}), ("", {}), ("# only", {}), ("A=1\nA=2", {"A": "2"}), ("a.b-c=1", {"a.b-c": "1"}),
    ],
)  # fmt: skip
def test_env_files_are_read(text: str, found: dict[str, str]) -> None:
    assert env(text, OUT="outside") == found


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("A=1\n=2", ".env:2: '=2' does not begin with a variable's name"),
        ("two words=1", ".env:1: 'two words=1' does not begin"),
        ("A=1\n\n'A'=1", ".env:3: "),
        ("B=1\nA='x\ny\n", ".env:2: the value's ' is not closed"),
        ('A="x" y', ".env:1: more follows the closing quote"),
        ('A="x\ny"\nB=${C:?needed}', ".env:3: variable C is required: needed"),
    ],
)
def test_what_is_wrong_in_env_files_has_its_line(text: str, cause: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        env(text)
    assert caught.value.cause.startswith(cause)


def test_variables_that_double_each_other_are_bounded() -> None:
    lines = ["A0=" + "x" * 1000] + [f"A{n}=$A{n - 1}$A{n - 1}" for n in range(1, 60)]
    with pytest.raises(InvalidInput, match="more than|too many"):
        env("\n".join(lines))


def test_raw_files_have_values_to_the_letter() -> None:
    assert dotenv.parse_raw("A= 'x' # $B\n# no\n\nC=\r\n", "f") == {"A": " 'x' # $B", "C": ""}
    with pytest.raises(InvalidInput, match="^f:2: this line is not NAME=VALUE"):
        dotenv.parse_raw("A=1\nB\n", "f")


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="AB= '\"\\$#{}\nx:\t\r", max_size=60))
def test_any_env_file_is_read_or_refused_with_its_line(text: str) -> None:
    try:
        found = env(text)
    except MultiosError as error:
        assert error.cause.startswith(".env:")
    else:
        assert all(name and "=" not in name for name in found)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), st.text(max_size=30), max_size=5
    )
)
def test_values_in_single_quotes_come_back(values: dict[str, str]) -> None:
    values = {name: value.replace("\\", "") for name, value in values.items() if name != "export"}
    text = "\n".join("{}='{}'".format(name, value.replace("'", "\\'")) for name, value in values.items())
    assert env(text) == values
