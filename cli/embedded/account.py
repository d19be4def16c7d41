"""PostgreSQL refuses to run as root: who it runs as then, and what that account has to reach."""

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

ACCOUNT = "iacrm_postgres"
"""A system account without a log-in, made on first use when root starts the stack."""

_TRAVERSE = stat.S_IXOTH
_READ = stat.S_IROTH


def unprivileged_account() -> str | None:
    """None for a normal user; for root, an account that PostgreSQL can run as (made when it is missing)."""
    if os.geteuid() != 0:
        return None
    if not _exists(ACCOUNT) and shutil.which("useradd"):
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
        subprocess.run(command, check=False, capture_output=True)
    # Minimal systems have no useradd; the account of last resort is everywhere.
    return ACCOUNT if _exists(ACCOUNT) else "nobody"


def group_of(account: str | None) -> int | None:
    """The group of an account; without it a process would keep root's group, and be kept out where that is."""
    return pwd.getpwnam(account).pw_gid if account is not None else None


def hand_over(folder: Path, account: str) -> None:
    """Gives a folder to the account and lets it walk there.

    Parents get the right to be walked through by others where it is missing (`/root` is such a one), not to be read.
    """
    entry = pwd.getpwnam(account)
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    folder.chmod(0o700)
    _let_through(folder)


def let_read(folder: Path) -> None:
    """Lets every account read a tree of programs and libraries; an installation under a strict umask forbids it."""
    _let_through(folder)
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        wanted = mode | _READ | (_TRAVERSE if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            path.chmod(wanted)


def _let_through(folder: Path) -> None:
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & _TRAVERSE:
            parent.chmod(mode | _TRAVERSE)


def _exists(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True
