"""What the commands say of themselves is short, complete and true."""

from __future__ import annotations

import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.fakes.live_server import ROOT, server_environment
from twistpi.cli.commands.help import EXAMPLES, every_command
from twistpi.cli.main import GROUPS, main

PATHS = dict(every_command(main))
LONGEST_SUMMARY = 85


def test_every_command_stands_below_a_heading() -> None:
    assert {str(command.name) for commands in GROUPS.values() for command in commands} == set(main.commands)
    told = CliRunner().invoke(main, ["--help"]).output
    for heading, commands in GROUPS.items():
        assert f"\n{heading}:\n" in told
        assert all(f"\n  {command.name} " in told for command in commands)
    assert "..." not in told.partition("Options:")[2], "a summary is cut off"


@pytest.mark.parametrize("path", PATHS)
def test_a_command_has_a_summary_examples_and_a_word_on_its_exit_status(path: str) -> None:
    told = CliRunner().invoke(main, [*path.split(), "--help"], env={"COLUMNS": "200"}).output
    summary = (PATHS[path].help or "").split("\n\n")[0]
    assert 0 < len(summary) <= LONGEST_SUMMARY, summary
    assert summary.endswith(".")
    assert path in EXAMPLES, f"give {path} an example in twistpi/cli/commands/help.py"
    assert all(f"\n  {example}\n" in told.replace("\n    ", "\n  ") for example in EXAMPLES[path]), told
    assert "Exit status: 0 when" in told
    for parameter in PATHS[path].params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{path} {parameter.name} has no help"


@pytest.mark.parametrize("example", [example for examples in EXAMPLES.values() for example in examples])
def test_an_example_is_a_command_line_that_is_understood(example: str) -> None:
    words = shlex.split(example, comments=False)
    words = words[words.index("twistpi") + 1 :]
    for stop in ("|", ">"):
        words = words[: words.index(stop)] if stop in words else words
    group: click.Command = main
    context = click.Context(main, info_name="twistpi")
    while isinstance(group, click.Group):
        name, found, words = group.resolve_command(context, words)
        assert found is not None
        group, context = found, click.Context(found, info_name=name, parent=context)
    made = group.make_context(group.name, words, parent=context.parent, resilient_parsing=False)
    assert made.command is group


def test_no_example_is_of_a_command_that_is_gone() -> None:
    assert set(EXAMPLES) == set(PATHS)


def test_the_page_of_the_commands_is_what_the_program_says() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "commands_page.py"))["page"]()
    assert (ROOT / "docs" / "commands.rst").read_text(encoding="utf-8") == page, "run: make docs"


def complete(words: str) -> list[str]:
    """What bash would be offered for the last of ``words``: the kind and the word of each."""
    environment = {"_TWISTPI_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    told = CliRunner().invoke(main, [], prog_name="twistpi", env=environment)
    return told.output.splitlines()


def test_commands_and_options_are_completed() -> None:
    assert set(complete("twistpi che")) == {"plain,check", "plain,check-index"}
    assert complete("twistpi token re") == ["plain,revoke"]
    assert complete("twistpi completion f") == ["plain,fish"]
    assert "plain,--dry-run" in complete("twistpi gc --")


@pytest.mark.parametrize("option", ["check --serverdir", "gen-config --directory"])
def test_folders_are_completed(option: str) -> None:
    assert complete(f"twistpi {option} da") == ["dir,da"]


@pytest.mark.parametrize("option", ["check --config", "resync --secretfile"])
def test_files_are_completed(option: str) -> None:
    assert complete(f"twistpi {option} da") == ["file,da"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    told = CliRunner().invoke(main, ["completion", shell])
    assert told.exit_code == 0
    assert f"_TWISTPI_COMPLETE={shell}_complete" in told.output


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    program = tmp_path / "twistpi"
    run = 'from twistpi.cli.main import main; main(prog_name="twistpi")'
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", run])} "$@"\n')
    program.chmod(0o755)
    script = (
        f'PATH={shlex.quote(str(tmp_path))}:$PATH; eval "$(twistpi completion bash)"; complete -p twistpi;'
        " COMP_WORDS=(twistpi explai); COMP_CWORD=1; _twistpi_completion twistpi explai twistpi; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=ROOT,
        env=server_environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert done.stdout.splitlines() == ["complete -o nosort -F _twistpi_completion twistpi", "explain"], done.stderr
