# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMU patch series: between the form it has in this repository and commits on QEMU's tree.

In the repository: whole new files at their QEMU paths, patches/NNNN-subject.patch with the message
and the edits to files that QEMU owns, and patches/files, which tells the patch of each whole file.

scripts/qemu is the way to call this.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST_HEAD = """\
# The patch that each whole file of ours joins: NNNN path. Written by "scripts/qemu export".
"""
PATCH_NAME = re.compile(r"(\d{4})-[\w.+-]+\.patch")
# What "git format-patch --zero-commit" begins with; the date tells file(1) what this is.
MAIL_START = "From " + 40 * "0" + " Mon Sep 17 00:00:00 2001\n"


class SeriesError(Exception):
    """What is wrong, where, and what to do."""


@dataclass
class Patch:
    """One patch: its message as a mail, its edits, the paths of the whole files that join it."""

    number: str
    name: str
    mail: bytes
    whole: list[str] = field(default_factory=list)


class Git:
    """A QEMU tree's repository. Only objects are written; index and files stay as they are."""

    def __init__(self, directory):
        self.directory = Path(directory)

    def run(self, *command, stdin=None, env=None, check=True):
        """Run git; its standard output as bytes."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "GIT_LITERAL_PATHSPECS": "1",
                       **(env or {})}
        result = subprocess.run(
            ["git", "-C", str(self.directory), "-c", "core.quotePath=false",
             "-c", "core.autocrlf=false", "-c", "log.mailmap=false",
             "-c", "log.showSignature=false", "-c", "i18n.commitEncoding=UTF-8", *command],
            input=stdin, env=environment, capture_output=True, check=False)
        if check and result.returncode != 0:
            text = result.stderr.decode(errors="replace").strip()
            raise SeriesError(f"{self.directory}: git {command[0]} failed: {text}")
        return result.stdout

    def line(self, *command, **options):
        """Run git; its standard output as one line of text."""
        return self.run(*command, **options).decode().strip()

    def commit(self, revision):
        """The full id of a commit."""
        try:
            return self.line("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        except SeriesError:
            raise SeriesError(
                f"{self.directory}: no commit '{revision}' in a git repository there") from None

    def paths(self, *command):
        """Run a git command that lists paths with -z."""
        return [path.decode() for path in self.run(*command).split(b"\0") if path]


def parse_manifest(text, where):
    """Paths by patch number."""
    files = {}
    seen = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"(\d{4})\s+(\S+)", line)
        if not match:
            raise SeriesError(f"{where}:{number}: '{line}' is not 'NNNN path'")
        patch, path = match.groups()
        if path.startswith("/") or ".." in path.split("/"):
            raise SeriesError(f"{where}:{number}: '{path}' is not a path inside QEMU's tree")
        if path in seen:
            raise SeriesError(
                f"{where}:{number}: {path} is listed twice (patches {seen[path]} and {patch}):"
                " a whole file joins one patch")
        seen[path] = patch
        files.setdefault(patch, []).append(path)
    return files


def format_manifest(patches):
    """The text of patches/files."""
    lines = [f"{patch.number} {path}\n" for patch in patches for path in patch.whole]
    return MANIFEST_HEAD + "".join(lines)


def read_series(root):
    """The patches of the repository at root, in order."""
    folder = Path(root) / "patches"
    found = sorted(folder.glob("*.patch"))
    if not found:
        raise SeriesError(f"{folder}: no NNNN-subject.patch there (is this the right directory?)")
    patches = []
    for path in found:
        match = PATCH_NAME.fullmatch(path.name)
        if not match:
            raise SeriesError(f"{path}: rename it to NNNN-subject.patch")
        if patches and patches[-1].number == match[1]:
            raise SeriesError(f"{path}: {patches[-1].name} has this number, too; renumber one")
        patches.append(Patch(match[1], path.name, path.read_bytes()))
    manifest = folder / "files"
    files = {}
    if manifest.exists():
        files = parse_manifest(manifest.read_text(encoding="utf-8"), manifest)
    for patch in patches:
        patch.whole = files.pop(patch.number, [])
    if files:
        number, paths = next(iter(files.items()))
        raise SeriesError(f"{manifest}: {paths[0]} joins patch {number}, which does not exist")
    return patches


def parse_mail(git, mail, name):
    """Author's environment for git, the message, and the diff of a patch."""
    with tempfile.TemporaryDirectory() as scratch:
        message, diff = Path(scratch, "message"), Path(scratch, "diff")
        header = git.run("mailinfo", "-b", "--no-scissors", "--encoding=UTF-8",
                         str(message), str(diff), stdin=mail).decode()
        values = dict(line.split(": ", 1) for line in header.splitlines() if ": " in line)
        body, edits = message.read_text(encoding="utf-8"), diff.read_bytes()
    for key in ("Author", "Email", "Subject", "Date"):
        if key not in values:
            what = {"Author": "From", "Email": "From"}.get(key, key)
            raise SeriesError(f"{name}: no '{what}:' line; is this a mail of git format-patch?")
    author = {"GIT_AUTHOR_NAME": values["Author"], "GIT_AUTHOR_EMAIL": values["Email"],
              "GIT_AUTHOR_DATE": values["Date"]}
    text = values["Subject"] + "\n"
    if body.strip():
        text += "\n" + body.strip("\n") + "\n"
    # git mailinfo hands the rest of the mail over, from "---" on.
    start = re.search(rb"^diff --git ", edits, re.MULTILINE)
    return author, text, edits[start.start():] if start else b""


def assemble(git, base, patches, read_whole):
    """Make commits of the patches on top of base, and return their ids.

    read_whole(path) gives (mode, content). The same input makes the same ids: who checks the last
    one out touches no file unless something changed.
    """
    parent = git.commit(base)
    commits = []
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        git.run("read-tree", parent, env=index)
        for patch in patches:
            author, message, diff = parse_mail(git, patch.mail, patch.name)
            if diff:
                try:
                    git.run("apply", "--cached", "--whitespace=nowarn", stdin=diff, env=index)
                except SeriesError as error:
                    below = git.line("show", "-s", "--format=%s", base)
                    raise SeriesError(f"{patch.name} does not apply to {below}: {error}") from None
            for path in patch.whole:
                if git.run("ls-tree", "-z", base, "--", path):
                    raise SeriesError(
                        f"{path}: QEMU owns this file; edit it in a patch, not as a whole file")
                mode, content = read_whole(path)
                blob = git.line("hash-object", "-w", "--stdin", stdin=content)
                git.run("update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}", env=index)
            tree = git.line("write-tree", env=index)
            committer = {key.replace("AUTHOR", "COMMITTER"): value
                         for key, value in author.items()}
            parent = git.line("commit-tree", tree, "-p", parent, stdin=message.encode(),
                              env={**author, **committer})
            commits.append(parent)
    return commits


def whole_file_reader(root):
    """A read_whole for assemble that reads from the repository at root."""
    def read_whole(path):
        file = Path(root) / path
        if not file.is_file():
            raise SeriesError(f"{path}: listed in patches/files, but not in {root}")
        return ("100755" if os.access(file, os.X_OK) else "100644"), file.read_bytes()
    return read_whole


def series_of_commits(git, base):
    """The patches that the commits base..HEAD are, and the whole files: {path: (mode, content)}."""
    base = git.commit(base)
    head = git.commit("HEAD")
    if git.line("merge-base", base, head, check=False) != base:
        raise SeriesError(f"{git.directory}: HEAD does not descend from the base {base[:12]};"
                          " rebase onto it, or name another with --base")
    commits = git.line("rev-list", "--reverse", f"{base}..{head}").split()
    if not commits:
        raise SeriesError(f"{git.directory}: no commits on top of the base {base[:12]}")
    if git.line("rev-list", "--merges", f"{base}..{head}"):
        raise SeriesError(f"{git.directory}: a merge among the commits; a series is a line, rebase")

    ours = set(git.paths("diff", "-z", "--no-renames", "--diff-filter=A", "--name-only",
                         base, head))
    owner = {}
    patches = []
    whole = {}
    for position, commit in enumerate(commits, 1):
        number = f"{position:04}"
        subject = git.line("show", "-s", "--format=%s", commit)
        if re.match(r"(fixup|squash|amend)! ", subject):
            raise SeriesError(f"{commit[:12]} '{subject}': fold it in first:"
                              f" git rebase -i --autosquash {base[:12]}")
        changed = git.paths("diff-tree", "-r", "-z", "--no-renames", "--name-only",
                            f"{commit}^", commit)
        mine = sorted(ours.intersection(changed))
        for path in mine:
            if path in owner:
                raise SeriesError(
                    f"{path}: added by patch {owner[path]}, and changed by patch {number}"
                    f" '{subject}': a whole file joins one patch; squash the change into"
                    f" {owner[path]} (git commit --fixup, git rebase -i --autosquash)")
            owner[path] = number
        mail = git.run("show", "-s", "--format=email", commit).decode()
        mail = MAIL_START + mail.partition("\n")[2].rstrip("\n") + "\n"
        rest = [path for path in changed if path not in ours]
        diff = b""
        if rest:
            diff = git.run("diff-tree", "-p", "--no-renames", "--binary",
                           "--abbrev=12", "--no-ext-diff", "--no-color", "--diff-algorithm=myers",
                           f"{commit}^", commit, "--", *rest)
        slug = re.sub(r"[^A-Za-z0-9._]+", "-", subject).replace("..", ".").strip("-.")[:52]
        patches.append(Patch(number, f"{number}-{slug.rstrip('-.') or 'patch'}.patch",
                             mail.encode() + b"---\n\n" + diff, mine))
    for path in sorted(ours):
        mode = git.line("ls-tree", head, "--", path).split()[0]
        if mode not in ("100644", "100755"):
            raise SeriesError(f"{path}: only plain files can be whole files (mode {mode})")
        whole[path] = mode, git.run("cat-file", "blob", f"{head}:{path}")

    made = assemble(git, base, patches, lambda path: whole[path])
    for patch, before, after in zip(patches, commits, made):
        for what, form in (("files", "%T"), ("message", "%B"), ("author", "%an <%ae> %ad")):
            if (git.line("show", "-s", f"--format={form}", before)
                    != git.line("show", "-s", f"--format={form}", after)):
                raise SeriesError(
                    f"{before[:12]} ({patch.name}): its {what} would not survive being mailed"
                    " (a line of the message that is '---' or begins with 'diff '?); reword it")
    return patches, whole


def write_if_changed(path, content, mode=None):
    """Write a file, keeping its time stamp when it stays the same. True if it was written."""
    written = not path.is_file() or path.read_bytes() != content
    if written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if mode is not None:
        path.chmod(int(mode[-3:], 8))
    return written


def export(git, base, root):
    """Rewrite the repository's patches and whole files from the commits of a QEMU tree."""
    root = Path(root)
    folder = root / "patches"
    patches, whole = series_of_commits(git, base)
    manifest = folder / "files"
    before = set()
    if manifest.exists():
        parsed = parse_manifest(manifest.read_text(encoding="utf-8"), manifest)
        before = {path for paths in parsed.values() for path in paths}
    for path, (_, content) in whole.items():
        if path not in before and (root / path).exists() and (
                (root / path).read_bytes() != content):
            raise SeriesError(f"{path}: exists here with other content, and patches/files does"
                              " not list it; move it away first")

    changed = 0
    for path in sorted(before - set(whole)):
        (root / path).unlink(missing_ok=True)
        changed += 1
    names = {patch.name for patch in patches}
    for path in folder.glob("*.patch"):
        if path.name not in names:
            path.unlink()
            changed += 1
    for patch in patches:
        changed += write_if_changed(folder / patch.name, patch.mail)
    for path, (mode, content) in whole.items():
        changed += write_if_changed(root / path, content, mode)
    changed += write_if_changed(manifest, format_manifest(patches).encode())
    print(f"{len(patches)} patches, {len(whole)} whole files; {changed} files changed in {root}")


def cover_text(text, letter):
    """Put the subject and text of patches/cover-letter into what git format-patch made."""
    subject, _, body = text.strip().partition("\n")
    letter = letter.replace("*** SUBJECT HERE ***", subject.strip(), 1)
    return letter.replace("*** BLURB HERE ***", body.strip(), 1)


def write_series(git, base, root, directory):
    """Write the series as mails for git am."""
    root, directory = Path(root), Path(directory)
    patches = read_series(root)
    head = assemble(git, base, patches, whole_file_reader(root))[-1]
    directory.mkdir(parents=True, exist_ok=True)
    strange = [path.name for path in directory.iterdir()
               if not re.fullmatch(r"\d{4}-.*\.patch", path.name)]
    if strange:
        raise SeriesError(f"{directory}: holds {strange[0]}, which is not a patch;"
                          " name an empty directory or one with an older series")
    for old in directory.glob("*.patch"):
        old.unlink()
    cover = root / "patches" / "cover-letter"
    author = git.line("show", "-s", "--format=%an%n%ae", head).split("\n")
    git.run("format-patch", "--quiet", "--zero-commit", "--numbered", "-M", "--stat=72",
            "--cover-letter" if cover.exists() else "--no-cover-letter",
            "--cover-from-description=none", "-o", str(directory.resolve()), f"{base}..{head}",
            env={"GIT_COMMITTER_NAME": author[0], "GIT_COMMITTER_EMAIL": author[1]})
    if cover.exists():
        letter = directory / "0000-cover-letter.patch"
        letter.write_text(cover_text(cover.read_text(encoding="utf-8"),
                                     letter.read_text(encoding="utf-8")), encoding="utf-8")
    return head


def main(arguments):
    """The command line; see scripts/qemu for what people call."""
    parser = argparse.ArgumentParser(prog="qemu_series.py", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--root", default=Path(__file__).resolve().parent.parent,
                        help="the repository with patches/ (default: this one)")
    parser.add_argument("--base", default="base", help="what the series is on top of")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("export", "rewrite patches/ and the whole files from a tree's commits"),
                       ("assemble", "make commits in a tree's repository; prints their ids"),
                       ("series", "write mails to a directory; prints the last commit's id")):
        command = commands.add_parser(name, help=text)
        command.add_argument("tree", help="a git repository of QEMU")
        if name == "series":
            command.add_argument("directory")
    options = parser.parse_args(arguments)
    git = Git(options.tree)
    try:
        if options.command == "export":
            export(git, options.base, options.root)
        elif options.command == "assemble":
            patches = read_series(options.root)
            for commit in assemble(git, options.base, patches, whole_file_reader(options.root)):
                print(commit)
        else:
            print(write_series(git, options.base, options.root, options.directory))
    except SeriesError as error:
        print(f"qemu: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
