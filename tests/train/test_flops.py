import pytest
import torch

from medclm.train.flops import Cost, cost_of, peak_tflops


def test_a_batch_by_hand():
    cost = Cost(per_token=10.0, per_token_pair=2.0, per_picture=100.0)
    assert cost.of([3, 1], 2) == 10 * 4 + 2 * (6 + 1) + 200


def test_a_trained_weight_costs_six_operations_a_token_and_a_frozen_tower_two(loaded):
    model, family = loaded.model, loaded.family
    parts = {part: 0 for part in ("vision", "projector", "language")}
    embedding = model.get_input_embeddings().weight
    for name, weight in model.named_parameters():
        if weight.ndim >= 2 and weight is not embedding:
            parts[family.part_of(name)] += weight.numel()
    tied = model.get_output_embeddings().weight is embedding
    told = parts["projector"] + parts["language"] + (embedding.numel() if tied else 0)
    cost = cost_of(model, family, patches=16)
    assert cost.per_token == 6 * told
    assert cost.per_picture == 6 * parts["vision"] * 16
    for name, weight in model.named_parameters():
        weight.requires_grad_(family.part_of(name) != "vision")
    frozen = cost_of(model, family, patches=16)
    for weight in model.parameters():
        weight.requires_grad_(True)
    assert frozen.per_picture == 2 * parts["vision"] * 16
    assert frozen.per_token == cost.per_token


@pytest.mark.parametrize(("given", "wanted"), [(0.0, 0.0), (12.5, 12.5)])
def test_a_cpus_peak_is_only_what_is_given(given, wanted):
    assert peak_tflops(torch.device("cpu"), given) == wanted
