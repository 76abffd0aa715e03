"""The table of attacks is what the tests say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import attack_table

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests/end_to_end"


def test_the_table_of_attacks_is_current() -> None:
    page = (ROOT / "docs/explanation/attacks.md").read_text()
    assert attack_table.page(TESTS).rstrip() in page, "run make reference"


def test_every_attack_says_what_stops_it_and_numbers_are_well_formed() -> None:
    found = list(attack_table.attacks(TESTS))
    assert len(found) > 30
    for attack in found:
        assert attack.what.endswith(".") or attack.what[-1].isalnum() or attack.what[-1] in '…"`:', attack
        assert attack.stopped_by
        for number in filter(None, attack.numbers.split(", ")):
            assert re.fullmatch(r"CVE-(19|20)\d\d-\d{4,7}", number), attack


def test_the_self_proof_judges_what_it_tries() -> None:
    from multios.selfproof.judgement import EXPECTATIONS

    spec = importlib.util.find_spec("multios.selfproof.battery")
    assert spec is not None and spec.origin is not None
    tried = re.findall(r'^    "([a-z-]+)": ', Path(spec.origin).read_text(), re.MULTILINE)
    assert set(EXPECTATIONS) <= set(tried)
