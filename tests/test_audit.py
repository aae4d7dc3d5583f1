import importlib.util
import json
import re
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit.py"
pytestmark = pytest.mark.skipif(not AUDIT.is_file(), reason="the audit is in the repository, not in the package")


@pytest.fixture
def audit():
    spec = importlib.util.spec_from_file_location("audit", AUDIT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def auditor(tmp_path, monkeypatch):
    """Write a module that stands for pip-audit, and return its name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(code):
        (tmp_path / "stub_auditor.py").write_text(code)
        return "stub_auditor"

    return make


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
        ("BSD-3-Clause AND (MIT OR GPL-3.0)", True),
        ("BSD-3-Clause AND GPL-3.0", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("", False),
    ],
)
def test_licences_by_hand(audit, expression, allowed):
    assert audit.is_allowed(expression) is allowed


def test_every_installed_package_of_the_lock_is_allowed(audit, capsys):
    assert audit.check_licences() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "bad", "said"),
    [
        ("", 0, "not checked: pip-audit ended without an answer: Error: its last line\n"),
        ("[]", 0, "not checked: pip-audit ended without an answer: Error: its last line\n"),
        (
            json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found"}]}),
            0,
            "not checked: the service knows",
        ),
        (json.dumps({"dependencies": [{"name": "a", "vulns": []}]}), 0, "1 of 1 packages have none"),
        (json.dumps({"dependencies": [{"name": "a", "vulns": [{"id": "CVE-1"}]}]}), 1, "a: CVE-1"),
    ],
)
def test_vulnerabilities_are_told_from_a_missing_network(audit, auditor, capsys, answer, bad, said):
    says = f"import sys\nprint({answer!r})\nprint('Traceback', 'Error: its last line', sep='\\n', file=sys.stderr)\n"
    assert audit.check_vulnerabilities(auditor(says)) == bad
    assert said in capsys.readouterr().out


def test_every_gate_runs_the_audit():
    (gates,) = re.findall(r"^test:(.*?)##", (AUDIT.parents[1] / "Makefile").read_text(encoding="utf-8"), re.M)
    assert "audit" in gates.split()


def test_a_service_that_does_not_answer_is_no_failure(audit, auditor, capsys):
    assert audit.check_vulnerabilities(auditor("import time\ntime.sleep(600)\n"), seconds=0.25) == 0
    assert "not checked: the service did not answer within 0.25 s" in capsys.readouterr().out
    assert audit.check_vulnerabilities("no_such_auditor") == 0
    assert "pip-audit is not installed" in capsys.readouterr().out
