# SPDX-License-Identifier: GPL-2.0-or-later
"""The patch series, to commits and back, on a small tree that stands for QEMU's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import qemu_series  # noqa: E402  pylint: disable=wrong-import-position,import-error

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ánna Author", "GIT_AUTHOR_EMAIL": "anna@example.org",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05 +0200",
    "GIT_COMMITTER_NAME": "Carl", "GIT_COMMITTER_EMAIL": "carl@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
}
OURS = "hw/net/ours.c"
HEADER = "include/ours.h"


class Tree:
    """A git repository with a branch "base" of two files, and HEAD on a branch "work"."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "base")
        self.write("hw/net/stock.c", "one\ntwo\nthree\n")
        self.write("meson.build", "project('x')\n")
        self.commit("base")
        self.git("checkout", "-q", "-b", "work")

    def git(self, *command, stdin=None):
        return subprocess.run(["git", *command], cwd=self.path, input=stdin, text=True, check=True,
                              env={**os.environ, **IDENTITY}, stdout=subprocess.PIPE).stdout

    def write(self, name, text):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def commit(self, *paragraphs):
        self.git("add", "-A")
        self.git("commit", "-q", *[word for text in paragraphs for word in ("-m", text)])

    @property
    def repository(self):
        return qemu_series.Git(self.path)


@pytest.fixture(name="tree")
def make_tree(tmp_path):
    """A tree with three commits: an edit, a whole file alone, both."""
    tree = Tree(tmp_path / "tree")
    tree.write("hw/net/stock.c", "one\n2\nthree\n")
    tree.commit("net: a number for a word", "Because it is shorter: é.\n\n  indented\n-- not a cut",
                "Signed-off-by: Ánna Author <anna@example.org>")
    tree.write(OURS, "whole\n")
    tree.commit("net: a whole file")
    tree.write(HEADER, "header\n")
    tree.write("meson.build", "project('x')\nsubdir('y')\n")
    tree.commit("net: a subject so long that a mail has to fold it, because lines end at some point")
    return tree


@pytest.fixture(name="root")
def make_root(tmp_path):
    """A repository without patches."""
    root = tmp_path / "root"
    root.mkdir()
    return root


def export(tree, root):
    qemu_series.export(tree.repository, "base", root)


def assemble(tree, root):
    return qemu_series.assemble(tree.repository, "base", qemu_series.read_series(root),
                                qemu_series.whole_file_reader(root))


def snapshot(root):
    return {str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*") if path.is_file()}


def test_export_parts_the_files(tree, root):
    export(tree, root)
    assert sorted(snapshot(root)) == [
        OURS, HEADER, "patches/0001-net-a-number-for-a-word.patch",
        "patches/0002-net-a-whole-file.patch",
        "patches/0003-net-a-subject-so-long-that-a-mail-has-to-fold-it-bec.patch",
        "patches/files"]
    assert (root / OURS).read_text() == "whole\n"
    manifest = (root / "patches/files").read_text().splitlines()
    assert manifest[1:] == [f"0002 {OURS}", f"0003 {HEADER}"]
    for patch in (root / "patches").glob("*.patch"):
        text = patch.read_text()
        assert OURS not in text and HEADER not in text
    assert "diff --git" not in (root / "patches/0002-net-a-whole-file.patch").read_text()


def test_there_and_back(tree, root):
    export(tree, root)
    commits = assemble(tree, root)
    for ours, theirs in zip(commits, tree.git("rev-list", "--reverse", "base..work").split()):
        for form in ("%T", "%B", "%an %ae %ad"):
            assert (tree.git("show", "-s", f"--format={form}", ours)
                    == tree.git("show", "-s", f"--format={form}", theirs))
    assert assemble(tree, root) == commits


def test_export_twice_writes_nothing(tree, root, capsys):
    export(tree, root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    export(tree, root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert "3 patches, 2 whole files; 0 files changed" in capsys.readouterr().out


def test_export_removes_what_left_the_series(tree, root):
    export(tree, root)
    (root / "patches/cover-letter").write_text("kept\n")
    tree.git("reset", "-q", "--hard", "HEAD~1")
    tree.git("commit", "-q", "--amend", "-m", "net: another name")
    export(tree, root)
    assert sorted(snapshot(root)) == [
        OURS, "patches/0001-net-a-number-for-a-word.patch", "patches/0002-net-another-name.patch",
        "patches/cover-letter", "patches/files"]


def test_executable_files_stay_executable(tree, root):
    tree.write("scripts/tool", "#!/bin/sh\n")
    (tree.path / "scripts/tool").chmod(0o755)
    tree.commit("a tool")
    export(tree, root)
    assert os.access(root / "scripts/tool", os.X_OK)
    mode = tree.git("ls-tree", assemble(tree, root)[-1], "scripts/tool").split()[0]
    assert mode == "100755"


def test_a_change_to_a_whole_file_reaches_the_tree(tree, root):
    export(tree, root)
    before = assemble(tree, root)
    (root / OURS).write_text("better\n")
    after = assemble(tree, root)
    assert after[0] == before[0] and after[1] != before[1]
    assert tree.git("show", f"{after[-1]}:{OURS}") == "better\n"


def change_whole_file_twice(tree, _root):
    tree.write(OURS, "changed\n")
    tree.commit("net: again")


def leave_a_fixup(tree, _root):
    tree.write("meson.build", "x\n")
    tree.commit("fixup! net: a whole file")


def merge(tree, _root):
    tree.git("checkout", "-q", "-b", "side", "base")
    tree.write("side", "x\n")
    tree.commit("side")
    tree.git("checkout", "-q", "work")
    tree.git("merge", "-q", "--no-edit", "side")


def no_commits(tree, _root):
    tree.git("reset", "-q", "--hard", "base")


def other_base(tree, _root):
    tree.git("checkout", "-q", "--orphan", "orphan")
    tree.commit("unrelated")


def cut_message(tree, _root):
    tree.write("meson.build", "x\n")
    tree.commit("net: cut", "before\n---\nafter")


def link(tree, _root):
    (tree.path / "link").symlink_to("meson.build")
    tree.commit("a link")


def stranger(_tree, root):
    (root / "hw/net").mkdir(parents=True)
    (root / OURS).write_text("somebody's\n")


@pytest.mark.parametrize("spoil, message", [
    (change_whole_file_twice, "added by patch 0002, and changed by patch 0004 'net: again'"),
    (leave_a_fixup, "git rebase -i --autosquash"),
    (merge, "a merge among the commits"),
    (no_commits, "no commits on top of the base"),
    (other_base, "does not descend from the base"),
    (cut_message, "would not survive being mailed"),
    (link, "only plain files can be whole files"),
    (stranger, "exists here with other content"),
])
def test_export_refuses(tree, root, spoil, message):
    spoil(tree, root)
    before = snapshot(root)
    with pytest.raises(qemu_series.SeriesError, match=message):
        export(tree, root)
    assert snapshot(root) == before


def lose_whole_file(root):
    (root / OURS).unlink()


def lose_patch(root):
    (root / "patches/0002-net-a-whole-file.patch").unlink()


def lose_all(root):
    for patch in (root / "patches").glob("*.patch"):
        patch.unlink()


def two_of_a_number(root):
    (root / "patches/0002-other.patch").write_text("x")


def odd_name(root):
    (root / "patches/fix.patch").write_text("x")


def no_mail(root):
    (root / "patches/0002-net-a-whole-file.patch").write_text("just text\n")


def take_what_qemu_owns(root):
    (root / "meson.build").write_text("x")
    with (root / "patches/files").open("a") as manifest:
        manifest.write("0001 meson.build\n")


def conflict(root):
    patch = root / "patches/0001-net-a-number-for-a-word.patch"
    patch.write_text(patch.read_text().replace("-two", "-zwei"))


@pytest.mark.parametrize("spoil, message", [
    (lose_whole_file, "listed in patches/files, but not in"),
    (lose_patch, "joins patch 0002, which does not exist"),
    (lose_all, "no NNNN-subject.patch there"),
    (two_of_a_number, "has this number, too"),
    (odd_name, "rename it to NNNN-subject.patch"),
    (no_mail, "is this a mail of git format-patch"),
    (take_what_qemu_owns, "QEMU owns this file"),
    (conflict, "0001-net-a-number-for-a-word.patch does not apply"),
])
def test_assemble_refuses(tree, root, spoil, message):
    export(tree, root)
    spoil(root)
    with pytest.raises(qemu_series.SeriesError, match=message):
        assemble(tree, root)


@pytest.mark.parametrize("text, message", [
    ("0001\n", "m:1: '0001' is not 'NNNN path'"),
    ("# x\n1 a\n", "m:2: '1 a' is not"),
    ("0001 /etc/passwd\n", "not a path inside"),
    ("0001 a/../../b\n", "not a path inside"),
    ("0001 a\n0002 a\n", r"a is listed twice \(patches 0001 and 0002\)"),
])
def test_manifest_refuses(text, message):
    with pytest.raises(qemu_series.SeriesError, match=message):
        qemu_series.parse_manifest(text, "m")


def test_series_can_be_applied(tree, root, tmp_path):
    export(tree, root)
    (root / "patches/cover-letter").write_text("net: the cover\n\nWhy.\n\nAnd how.\n")
    mails = tmp_path / "mails"
    head = qemu_series.write_series(tree.repository, "base", root, mails)
    letter = (mails / "0000-cover-letter.patch").read_text()
    assert "Subject: [PATCH 0/3] net: the cover\n" in letter
    assert "\n\nWhy.\n\nAnd how.\n" in letter and "***" not in letter
    tree.git("checkout", "-q", "--detach", "base")
    tree.git("am", "-q", *sorted(str(path) for path in mails.glob("000[1-9]*")))
    assert tree.git("diff", head, "HEAD") == ""
    qemu_series.write_series(tree.repository, "base", root, mails)


def test_series_keeps_its_hands_off_other_files(tree, root, tmp_path):
    export(tree, root)
    mails = tmp_path / "mails"
    mails.mkdir()
    (mails / "letter.txt").write_text("x")
    with pytest.raises(qemu_series.SeriesError, match="letter.txt, which is not a patch"):
        qemu_series.write_series(tree.repository, "base", root, mails)


def test_command_line(tree, root, capsys):
    arguments = ["--root", str(root)]
    assert qemu_series.main([*arguments, "assemble", str(tree.path)]) == 1
    assert "qemu: error: " in capsys.readouterr().err
    assert qemu_series.main([*arguments, "export", str(tree.path)]) == 0
    capsys.readouterr()
    assert qemu_series.main([*arguments, "assemble", str(tree.path)]) == 0
    assert len(capsys.readouterr().out.split()) == 3
