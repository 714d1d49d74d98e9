# SPDX-License-Identifier: GPL-2.0-or-later
"""One certificate authority for the lab, and each host's certificates."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from . import paths
from .host import Host

INSTALLED = "/etc/pki/vfailover"
ROLES = {"server": "tls_www_server", "client": "tls_www_client"}

# The clock of an emulated host is only roughly right, and this machine's may be set to anything.
VALIDITY = """activation_date = "2020-01-01 00:00:00 UTC"
expiration_date = "2099-01-01 00:00:00 UTC"
"""


def _certtool(*arguments: str) -> None:
    subprocess.run(["certtool", *arguments], check=True, capture_output=True)


def _key(path: Path) -> Path:
    _certtool("--generate-privkey", "--key-type", "ecdsa", "--outfile", str(path))
    return path


def directory(names: list[str]) -> Path:
    """The directory of the certificates for these hosts; they are made once and kept."""
    target = paths.CACHE / f"pki-{'-'.join(names)}"
    if target.exists():
        return target
    work = Path(tempfile.mkdtemp(prefix="pki.", dir=paths.CACHE))
    template = work / "template"
    ca, ca_key = work / "cacert.pem", _key(work / "cakey.pem")
    template.write_text(f'cn = "vfailover lab"\nca\ncert_signing_key\n{VALIDITY}')
    _certtool("--generate-self-signed", "--load-privkey", str(ca_key),
              "--template", str(template), "--outfile", str(ca))  # fmt: skip
    for name in names:
        (work / name).mkdir()
        shutil.copy(ca, work / name)
        for role, purpose in ROLES.items():
            key = _key(work / name / f"{role}key.pem")
            template.write_text(
                f'cn = "{name}"\ndns_name = "{name}"\n{purpose}\nsigning_key\n{VALIDITY}'
            )
            _certtool("--generate-certificate", "--load-privkey", str(key),
                      "--load-ca-certificate", str(ca), "--load-ca-privkey", str(ca_key),
                      "--template", str(template),
                      "--outfile", str(work / name / f"{role}cert.pem"))  # fmt: skip
    try:
        work.rename(target)
    except OSError:
        shutil.rmtree(work)  # another lab was quicker
    return target


def install(host: Host, pki: Path) -> None:
    """Put a host's own certificates where its daemon looks for them."""
    host.sh(f"mkdir -p {INSTALLED} && cp {pki}/{host.name}/*.pem {INSTALLED}/")


def settings() -> dict[str, str]:
    """The section of the daemon's configuration that names them."""
    values = {"ca": f"{INSTALLED}/cacert.pem"}
    for role in ROLES:
        values[f"{role}-cert"] = f"{INSTALLED}/{role}cert.pem"
        values[f"{role}-key"] = f"{INSTALLED}/{role}key.pem"
    return values
