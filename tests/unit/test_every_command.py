"""What holds for every `flask` command: help without settings, `--json` where it prints what it found, numbers refused
in words."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from flaskapp import create_help_app
from flaskapp.ops.commands.arguments import Count
from jobs.cli import COMMANDS, attach

app = create_help_app()
attach(app)
# They say in a sentence what they did, or print the one thing that they are for.
ACTS = {
    *("breakers hold", "breakers lift", "breakers try-now", "cases assign", "cases close", "cases note"),
    *("webhooks pause", "webhooks redeliver", "webhooks remove", "webhooks resume", "webhooks test"),
    *("documents delivered", "documents upload-again", "itf used", "outbox park", "outbox requeue", "release", "db"),
    *(
        "keys forget",
        "keys new",
        "keys redigest",
        "keys reseal",
        "operators hash",
        "docs page",
        "docs openapi",
        *COMMANDS,
    ),
}


def walk(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from walk(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


@pytest.mark.parametrize(("name", "command"), [pytest.param(*each, id=each[0]) for each in walk(app.cli)])
def test_every_command(name: str, command: click.Command) -> None:
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert name in ACTS or "--json" in {flag for each in options for flag in each.opts}, "it prints what it found"
    assert command.help and all(each.help for each in options)
    if name != "db":
        shown = CliRunner().invoke(app.cli, [*name.split(), "--help"])
        assert shown.exit_code == 0 and max(map(len, shown.output.splitlines())) <= 80
    for each in options:
        assert not isinstance(each.type, click.types.IntParamType), "any number, and one that is none in a traceback"
        if isinstance(each.type, Count):
            refused = CliRunner().invoke(command, [each.opts[0], "-1"])
            assert (refused.exit_code, "expected a whole number from" in refused.output) == (2, True)
