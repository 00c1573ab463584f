from __future__ import annotations

import numpy as np
import torch

from ganic.tensor_names import below, halves


def test_names_below_a_prefix() -> None:
    values = {
        "encoder.weight": 1,
        "encoder.out.bias": 2,
        "encoder_2.weight": 3,
        "generator.encoder.weight": 4,
    }
    assert below(values, "encoder.") == {"weight": 1, "out.bias": 2}
    assert below(values, "prior.") == {}


def test_a_network_as_files_keep_it() -> None:
    state = {"out.weight": torch.tensor([[1.0, 2**-24], [1 + 2**-11, -3.5]], requires_grad=True)}
    kept = halves(state, "encoder")
    assert list(kept) == ["encoder.out.weight"]
    assert kept["encoder.out.weight"].dtype == np.float16
    # 2**-24 is the smallest float16; 1 + 2**-11 lies between two and goes to the even one.
    assert kept["encoder.out.weight"].tolist() == [[1.0, 2**-24], [1.0, -3.5]]
