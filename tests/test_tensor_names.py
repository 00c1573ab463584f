from __future__ import annotations

from ganic.tensor_names import below


def test_names_below_a_prefix() -> None:
    values = {
        "encoder.weight": 1,
        "encoder.out.bias": 2,
        "encoder_2.weight": 3,
        "generator.encoder.weight": 4,
    }
    assert below(values, "encoder.") == {"weight": 1, "out.bias": 2}
    assert below(values, "prior.") == {}
