# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of a pair's states: what is read, and what is refused."""

import shutil
import subprocess
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "qemu-states"


def load():
    """scripts/qemu-states as a module; it has no name that can be imported."""
    module = types.ModuleType("qemu_states")
    text = SCRIPT.read_text(encoding="utf-8")
    exec(compile(text, str(SCRIPT), "exec"), module.__dict__)  # pylint: disable=exec-used
    return module


qemu_states = load()

CODE = """\
static const struct {
    VirtioNetFailoverState old;
} transition_table[] = {
    { S(AWAY), R(GIVEN), S(HERE_NOW) },

    /* { S(AWAY), R(TAKEN), S(AWAY) }, */
    { S(HERE_NOW),
      R(GIVEN), S(HERE_NOW) },
    { S(HERE_NOW),  R(TAKEN),  S(AWAY) }
};

static const int other[] = { 1 };
"""
SCHEMA = """\
##
# @VirtioNetFailoverState:
#
# Where it is.
#
# @away: not
#     here
#
# @here-now: here | there
#
# Since: 10.1
##
{ 'enum': 'VirtioNetFailoverState',
  'data': [ 'away',
            'here-now' ] }

##
# @VirtioNetFailoverReason:
#
# @given: came
# @taken: went
##
{ 'enum': 'VirtioNetFailoverReason', 'data': [ 'given', 'taken' ] }
"""


def test_table():
    assert qemu_states.parse_table(CODE) == [
        ("away", "given", "here-now"), ("here-now", "given", "here-now"),
        ("here-now", "taken", "away")]


def test_enum():
    assert qemu_states.parse_enum(SCHEMA, "VirtioNetFailoverState") == {
        "away": "not here", "here-now": "here | there"}
    assert qemu_states.parse_enum(SCHEMA, "VirtioNetFailoverReason") == {
        "given": "came", "taken": "went"}


def test_page():
    text = qemu_states.page(CODE, SCHEMA)
    assert "A new pair is *away*." in text
    assert "| here-now | here \\| there |\n" in text
    assert "| here-now | taken | away | went |\n" in text
    assert text.count("| away | given | here-now | came |\n") == 1
    assert ('```mermaid\nstateDiagram-v2\n    state "here-now" as here_now\n    [*] --> away\n'
            "    away --> here_now: given\n    here_now --> here_now: given\n```\n") in text
    # With one state besides the initial one, "from every other state" says it all.
    assert "Left out: *taken*" in text


def test_diagram_draws_what_is_not_general():
    code = CODE.replace("S(AWAY) }\n", "S(AWAY) },\n    { S(LOST), R(GIVEN), S(AWAY) },\n"
                        "    { S(AWAY), R(TAKEN), S(LOST) }\n")
    schema = SCHEMA.replace("#\n# Since", "# @lost: gone\n#\n# Since").replace(
        "'here-now' ]", "'here-now', 'lost' ]")
    text = qemu_states.page(code, schema)
    assert "Left out" not in text
    assert "    here_now --> away: taken\n" in text


@pytest.mark.parametrize("old, new, complaint", [
    ("transition_table", "table", "no transition_table"),
    ("R(GIVEN), S(HERE_NOW) },\n\n", "S(HERE_NOW) },\n\n", "is not '{ S(OLD)"),
    ("{ S(AWAY), R(GIVEN), S(HERE_NOW) },\n\n", "ROW(AWAY),\n", "'ROW(AWAY),' is not"),
    ("S(HERE_NOW) },\n    { S(HERE_NOW),  R(TAKEN)", "S(AWAY) },\n    { S(HERE_NOW), R(GIVEN)",
     "has given in state here-now twice"),
    ("R(TAKEN),  S(AWAY)", "R(LOST), S(AWAY)", "does not know 'lost'"),
    ("R(TAKEN),  S(AWAY)", "R(TAKEN), S(GONE)", "does not know 'gone'"),
    ("    { S(HERE_NOW),  R(TAKEN),  S(AWAY) }\n", "", "reason 'taken' is not in"),
    ("S(HERE_NOW) },\n\n", "S(AWAY) },\n\n", "leads to state 'here-now'"),
])
def test_code_is_refused(old, new, complaint):
    assert old in CODE
    with pytest.raises(qemu_states.StatesError, match="^hw/net|^qapi") as error:
        qemu_states.page(CODE.replace(old, new), SCHEMA)
    assert complaint in str(error.value)


@pytest.mark.parametrize("old, new, complaint", [
    ("'enum': 'VirtioNetFailoverReason'", "'enum': 'Other'", "no enum VirtioNetFailoverReason"),
    ("# @taken: went\n", "", "'taken' has no documentation"),
    ("'given', 'taken'", "'given'", "'taken' is documented, but no member"),
])
def test_schema_is_refused(old, new, complaint):
    assert old in SCHEMA
    with pytest.raises(qemu_states.StatesError) as error:
        qemu_states.page(CODE, SCHEMA.replace(old, new))
    assert complaint in str(error.value)


def run(root, *arguments):
    return subprocess.run([SCRIPT, "--root", root, *arguments], capture_output=True, text=True,
                          check=False)


def test_check(tmp_path):
    for name in (qemu_states.CODE, qemu_states.SCHEMA):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs").mkdir()
    missing = run(tmp_path, "--check")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "run scripts/qemu-states" in missing.stderr
    assert run(tmp_path).returncode == 0
    assert run(tmp_path, "--check").returncode == 0

    code = tmp_path / qemu_states.CODE
    code.write_text(code.read_text(encoding="utf-8").replace(
        "R(DELETED),          S(ABSENT)", "R(DELETED), S(FAILED)", 1), encoding="utf-8")
    stale = run(tmp_path, "--check")
    assert stale.returncode == 1
    assert stale.stderr.count("\n") == 1
