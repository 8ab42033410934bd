"""`python -m tests.linters`: hold both descriptions of the API against Spectral and Redocly, where npm is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from flaskapp import create_app
from flaskapp.config import from_env
from flaskapp.web.openapi import CAMEL, SNAKE, document
from sandbox.settings import environment, kept_secrets
from tests.conftest import NOWHERE

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".venv" / "node"
PACKAGES = ("@stoplight/spectral-cli@6.16.3", "@redocly/cli@2.77.0")
# Warnings are about taste, such as a contact and a licence address; errors are about what the document says.
SPECTRAL = 'extends: ["spectral:oas"]\n'
LAST_LINES = 3


def main() -> int:
    if shutil.which("npm") is None:
        print("npm is not installed: Spectral and Redocly were not run.")
        return 0
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(TOOLS), *PACKAGES]
    subprocess.run(install, check=True)
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder, "spectral.yaml")
        rules.write_text(SPECTRAL)
        return max(lint(path, rules) for path in written(Path(folder)))


def written(folder: Path) -> list[Path]:
    """Both documents, as files."""
    secrets = kept_secrets(folder / "secrets")
    app = create_app(
        from_env(environment("postgres://nobody@127.0.0.1:1/x", "redis://127.0.0.1:1/0", NOWHERE, secrets))
    )
    paths = [folder / f"{keys}.json" for keys in (CAMEL, SNAKE)]
    for path in paths:
        path.write_text(json.dumps(document(app, path.stem)))
    return paths


def lint(path: Path, rules: Path) -> int:
    """The worse exit code of the two."""
    programs = TOOLS / "node_modules" / ".bin"
    spectral = [programs / "spectral", "lint", "--ruleset", rules, path]
    commands = {"spectral": spectral, "redocly": [programs / "redocly", "lint", path]}
    worst = 0
    for name, command in commands.items():
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)
        said = (done.stdout + done.stderr).strip()
        lines = [line for line in said.splitlines() if line.strip()]
        print(f"{name}, {path.stem}:", *(lines if done.returncode else lines[-LAST_LINES:]), sep="\n  ")
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
