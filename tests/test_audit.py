import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit.py"
pytestmark = pytest.mark.skipif(not AUDIT.is_file(), reason="the audit is in the repository, not in the package")


@pytest.fixture
def audit():
    spec = importlib.util.spec_from_file_location("audit", AUDIT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
def test_vulnerabilities_are_told_from_a_missing_network(audit, monkeypatch, capsys, answer, bad, said):
    stderr = "Traceback\nError: its last line\n"
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=answer, stderr=stderr))
    assert audit.check_vulnerabilities() == bad
    assert said in capsys.readouterr().out


def test_every_gate_runs_the_audit():
    (gates,) = re.findall(r"^test:(.*?)##", (AUDIT.parents[1] / "Makefile").read_text(encoding="utf-8"), re.M)
    assert "audit" in gates.split()


def test_a_service_that_does_not_answer_is_no_failure(audit, monkeypatch, capsys):
    def late(*_, **__):
        raise subprocess.TimeoutExpired("pip-audit", 1)

    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(audit.subprocess, "run", late)
    assert audit.check_vulnerabilities() == 0
    assert "not checked: the service did not answer within 60 s" in capsys.readouterr().out
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: None)
    assert audit.check_vulnerabilities() == 0
    assert "pip-audit is not installed" in capsys.readouterr().out
