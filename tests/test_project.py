"""The files by which strangers adopt the project agree with the code: package, platform, containers, CI."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest
import yaml

from flaskapp.config import from_env, setting_names
from flaskapp.redis_pool import with_tls_choice
from flaskapp.web.openapi import VERSION
from sandbox.settings import environment, kept_secrets
from tests.conftest import NOWHERE

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".venv" / "tools" / "bin"
PACKAGED = ("flaskapp", "jobs", "migrations", "outbox")
# As Heroku's add-ons write them, the latter with a certificate that it signed itself.
POSTGRES, REDIS = "postgres://u:p@ec2-1.example.com:5432/d1", "rediss://:p@ec2-2.example.com:6380"
# A generated secret is 64 hexadecimal digits there.
GENERATED = "0123456789abcdef" * 4


def text(name: str) -> str:
    return (ROOT / name).read_text()


def procfile() -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text("Procfile").splitlines())


def test_app_json_starts_the_product_with_what_a_platform_draws_and_asks_for(tmp_path: Path) -> None:
    app = json.loads(text("app.json"))
    assert [*app["formation"]] == [name for name in procfile() if name != "release"]
    asked: dict[str, Any] = app["env"]
    assert all(each["description"] == setting_names()[name].metadata["text"] for name, each in asked.items())
    known = environment(POSTGRES, REDIS, NOWHERE, kept_secrets(tmp_path))
    drawn = {name: GENERATED for name, each in asked.items() if "generator" in each}
    fixed = {name: each["value"] for name, each in asked.items() if "value" in each}
    typed = {name: known.get(name, "https://example.com") for name, each in asked.items() if each.get("required")}
    assert drawn.keys() | fixed.keys() | typed.keys() == asked.keys()
    config = from_env({"DATABASE_URL": POSTGRES, "REDIS_URL": REDIS, **typed, **fixed, **drawn})
    assert config.database_url == "postgresql+psycopg2://u:p@ec2-1.example.com:5432/d1"
    assert with_tls_choice(config.redis_url, config.redis_verify_tls) == f"{REDIS}?ssl_cert_reqs=none"
    assert config.encryption_keys == ("ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=",)
    assert config.trusted_proxies == 1 and not config.insecure_cookies


def test_the_example_of_settings_names_them_all_and_starts_nothing_by_itself() -> None:
    lines = text(".env.example").splitlines()
    named = {match[2]: match[1] for line in lines if (match := re.match(r"(# )?([A-Z][A-Z0-9_]*)=", line))}
    assert named.keys() == setting_names().keys()
    required = {name for name, item in setting_names().items() if item.metadata["required"]}
    assert {name for name, commented in named.items() if not commented} == required


def test_containers_run_the_processes_of_the_procfile() -> None:
    """Where docker is, `docker compose build` tells more."""
    lines = re.sub(r"\\\n", "", text("Dockerfile")).splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert {step for step, _ in steps} <= {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "CMD"}
    assert steps[0] == ["FROM", f"python:{text('.python-version').strip()}-slim-bookworm"]
    order = [step for step, _ in steps]
    assert order.index("USER") > max(index for index, step in enumerate(order) if step == "RUN")
    copied = {name.removeprefix("./") for step, rest in steps if step == "COPY" for name in rest.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied) and copied >= {*PACKAGED, "wsgi.py", "gunicorn.conf.py"}
    let_through = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    assert let_through == copied
    services = yaml.safe_load(text("compose.yaml"))["services"]
    commands = {name: " ".join(each["command"]) for name, each in services.items() if "command" in each}
    assert commands == procfile()
    assert json.loads(dict(steps)["CMD"]) == services["web"]["command"]
    assert services["web"]["image"] == f"surefile:{VERSION}"


def test_ci_elsewhere_runs_the_same_command() -> None:
    workflow = yaml.safe_load(text(".github/workflows/test.yml"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    ecosystems = {each["package-ecosystem"] for each in yaml.safe_load(text(".github/dependabot.yml"))["updates"]}
    assert ecosystems == {"pip", "github-actions", "docker"}
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    for hook in hooks:
        assert hook["entry"].split()[0].removeprefix(".venv/bin/") in text("requirements-dev.txt")
    container = json.loads(text(".devcontainer/devcontainer.json"))
    assert f":{text('.python-version').strip()}-" in container["image"]


def test_the_changelog_has_the_version() -> None:
    assert f"## [{VERSION}]" in text("CHANGELOG.md")
    assert text("LICENSE").startswith("Creative Commons Legal Code\n\nCC0 1.0 Universal")


@pytest.mark.skipif(not TOOLS.exists(), reason="`make tools` installs the programs of requirements-tools.txt")
def test_the_package_brings_the_command_and_all_it_needs(tmp_path: Path) -> None:
    """Built from a copy, installed into an environment that sees the dependencies but not the source tree."""
    source, fresh = tmp_path / "source", tmp_path / "fresh"
    for name in PACKAGED:
        copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "requirements.txt", "README.md", "LICENSE", "wsgi.py"):
        (source / name).write_text(text(name))
    pip = [TOOLS / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", tmp_path, source], check=True
    )
    (wheel,) = tmp_path.glob(f"surefile-{VERSION}-*.whl")
    wanted = {str(path.relative_to(source)) for name in PACKAGED for path in (source / name).rglob("*.*")}
    with zipfile.ZipFile(wheel) as packed:
        assert wanted - set(packed.namelist()) == set()
    venv.create(fresh, with_pip=False)
    places = subprocess.check_output(
        [fresh / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    Path(places.strip(), "dependencies.pth").write_text("\n".join(dependencies))
    subprocess.run(
        [*pip, "--python", fresh / "bin" / "python", "install", "--no-deps", "--no-index", wheel], check=True
    )
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    said = subprocess.check_output([fresh / "bin" / "surefile", "--help"], text=True, cwd=tmp_path, env=surroundings)
    for command in ("release", "relay", "worker", "scheduler", "audit", "docs"):
        assert re.search(rf"^  {command} ", said, re.MULTILINE), said
