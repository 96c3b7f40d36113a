"""The federation as in hospitals, with processes, TLS and keys, ends with the weights of the one in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rehearsing import ASC, LIMIT_S, left_processes, rehearse


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 400)
def test_processes_with_tls_and_keys_end_with_the_weights_of_one_process(tmp_path: Path) -> None:
    out = tmp_path / "rehearsal"
    verdict, _ = rehearse(*ASC, "--seed", "4", "--out", str(out))
    assert verdict["status"] == "completed"
    assert verdict["weights_identical"] is True
    assert verdict["differing"] == []
    assert verdict["rounds"] == 4
    assert verdict["sites"] == ["source", "target-1"]
    assert left_processes(out) == []
    logs = [path.read_text(encoding="utf-8", errors="replace") for path in out.rglob("log.txt")]
    assert len(logs) == 3
    assert not any("Traceback" in log for log in logs)
