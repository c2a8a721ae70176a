# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Two test processes are never in one ROS domain; one that has ended leaves its own free."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

from patience import PATIENT_S
import pytest
from ros_domain import base_domain, claim_domain


def claimed_by_another(base: int) -> int:
    """Return what a process gets that ends at once."""
    code = f'from ros_domain import claim_domain; print(claim_domain({base}))'
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=PATIENT_S, check=True,
        cwd=Path(__file__).parent)
    return int(done.stdout)


def test_each_process_has_its_own():
    ours = int(os.environ['ROS_DOMAIN_ID'])
    theirs = claimed_by_another(ours)
    assert theirs != ours
    assert 1 <= theirs <= 101
    assert claim_domain(theirs) == theirs, 'it was free again'


@pytest.mark.parametrize('base', [0, 1, 101, 102, 4000])
def test_every_base_leads_to_a_domain_that_there_is(base):
    assert 1 <= claimed_by_another(base) <= 101


def test_the_user_names_the_first(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', '42')
    assert base_domain() == 42
    monkeypatch.delenv('ROS_DOMAIN_ID')
    assert 1 <= base_domain() <= 101
