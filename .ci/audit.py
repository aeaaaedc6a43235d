"""Look for known vulnerabilities of what is installed beside this Python: ``python .ci/audit.py``.

pip-audit does it, from a virtual environment of its own, so that it is not audited itself. It asks
PyPI's advisories for each package. Where they do not answer (a mirror has the packages alone) this
says so and ends well: what was not audited cannot be said to be vulnerable. Status 1: a package is.
"""

import json
import subprocess
import sys
import sysconfig
import tempfile
import urllib.error
import urllib.request
import venv
from importlib.metadata import version
from pathlib import Path

# Advisories that do not concern this package, each with the reason; pip-audit is told them.
IGNORED: dict[str, str] = {}


def unreachable() -> str | None:
    """Return why there are no advisories here, asking for those of one package: pip."""
    url = f"https://pypi.org/pypi/pip/{version('pip')}/json"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            known = "vulnerabilities" in json.load(answer)
    except (OSError, ValueError, urllib.error.URLError) as error:
        return f"{url}: {error}"
    return None if known else f"{url} has no advisories"


def audited(packages: str) -> list[dict]:
    """Return what pip-audit says of each package in a folder of packages."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python, report = f"{folder}/bin/python", Path(folder, "report.json")
        subprocess.run([python, "-m", "pip", "install", "-q", "pip-audit>=2.9"], check=True)
        ignored = [word for name in IGNORED for word in ("--ignore-vuln", name)]
        command = [python, "-m", "pip_audit", "-s", "pypi", "--path", packages, "--skip-editable"]
        options = ["--progress-spinner", "off", "-f", "json", "-o", str(report)]
        subprocess.run([*command, *options, *ignored], check=False)
        return json.loads(report.read_text("utf-8"))["dependencies"] if report.exists() else []


def main() -> int:
    """Audit; print one line, or a line for each vulnerability."""
    reason = unreachable()
    if reason:
        print(f"audit: NOT DONE, no advisories can be read here ({reason})")
        return 0
    found = audited(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("purelib"))
    known = [one for one in found if "vulns" in one]
    problems = [(one, each) for one in known for each in one["vulns"]]
    for one, each in problems:
        fixed = ", ".join(each["fix_versions"]) or "nothing yet"
        print(f"audit: {one['name']} {one['version']}: {each['id']}, fixed by {fixed}")
    if not known:
        print("audit: NOT DONE, pip-audit says of no package whether it is vulnerable")
        return 0
    print(
        f"audit: {len(known)} packages, {len(problems)} vulnerabilities; "
        f"{len(found) - len(known)} packages unknown to the advisories"
    )
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
