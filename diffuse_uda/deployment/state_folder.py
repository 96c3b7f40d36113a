"""The folder that a hub or a site keeps between starts: for its account alone."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from pathlib import Path

from diffuse_uda.errors import ConfigError

SECRET_BYTES = 32


def make_private_folder(path: Path) -> None:
    """Make a folder that only this account may enter, or see to it that an existing one is such.

    Raises:
        ConfigError: If it cannot be made, belongs to somebody else, or others may write to it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        msg = f"cannot make the folder {path}: {error.strerror}; give the service's account a folder of its own"
        raise ConfigError(msg) from error
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        found = f"owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}"
        msg = (
            f"the folder {path} holds keys: found {found}; wanted owner {os.geteuid()}, mode 0700; "
            f"chown {os.geteuid()} {path} && chmod 700 {path}"
        )
        raise ConfigError(msg)


def keep_secret(path: Path) -> str:
    """Read a secret of this machine, made on first use: 64 hex digits in a file that only this account may read.

    Raises:
        ConfigError: If others may read the file, or it holds something else.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_secret(path)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    return read_secret(path)


def read_secret(path: Path) -> str:
    """Read a secret that `keep_secret` made.

    Raises:
        ConfigError: If it is missing, others may read it, or it holds something else.
    """
    try:
        status = path.stat()
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read the secret {path}: {getattr(error, 'strerror', None) or type(error).__name__}"
        raise ConfigError(msg) from error
    if status.st_mode & 0o077:
        found = f"mode {stat.S_IMODE(status.st_mode):04o}"
        msg = f"the secret {path}: found {found}; wanted 0600: others may have read it, delete it for a new one"
        raise ConfigError(msg)
    if len(text) != 2 * SECRET_BYTES or set(text) - set("0123456789abcdef"):
        msg = f"the secret {path}: wanted {2 * SECRET_BYTES} hex digits; delete it for a new one"
        raise ConfigError(msg)
    return text


def clear_leftovers(folder: Path, prefix: str) -> None:
    """Delete what killed tasks left behind: folders whose name begins with `prefix`."""
    for leftover in folder.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
