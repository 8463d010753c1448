"""A small run of what ``python -m tests.descriptor_stress`` does with many more connections."""

import pytest

from . import descriptor_stress


@pytest.mark.parametrize("seed", [1, 2])
def test_every_byte_reaches_its_own_connection(loop_factory, on_fastaio, seed):
    result = descriptor_stress.run(
        1000, loop_factory=loop_factory, concurrency=100, seed=seed, take_away=on_fastaio
    )
    assert result["strays"] == []
    assert result["errors"] == {}
    assert result["leaked descriptors"] == 0
    assert result["connections"] == 1000
    outcomes = result["outcomes"]
    kinds = {name.partition(" ")[0] for name in outcomes}
    assert len(kinds) == 5 + on_fastaio
    for kind in kinds:
        assert outcomes[f"{kind} done"] > 30
        assert outcomes[f"{kind} cancelled"] > 5
