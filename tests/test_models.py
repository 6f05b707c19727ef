"""Networks: shapes, `features` and `classifier`, seeds."""

import pytest
import torch
from torch import nn

from ncourse.models import CNN, MLP, CausalTransformer, Classifier, hidden_layers, resnet18, seeded


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (MLP((1, 8, 8), (32, 16), 10), (1, 8, 8)),
        (MLP((5,), (16,), 10, batch_norm=False), (5,)),
        (CNN((1, 8, 8), (4, 16), 10), (1, 8, 8)),
        (CNN((3, 32, 32), (4, 8, 8, 16), 10), (3, 32, 32)),
        (CNN((1, 2, 3), (4, 16), 10), (1, 2, 3)),
    ],
    ids=["mlp", "mlp without batch norm", "cnn", "deep cnn", "cnn on tiny images"],
)
def test_logits_are_the_classifier_of_the_features(model, shape):
    inputs = torch.randn(7, *shape)
    model.eval()
    features = model.features(inputs)
    assert features.shape == (7, 16)
    expected = features @ model.classifier.weight.T + model.classifier.bias
    assert torch.allclose(model(inputs), expected, atol=1e-5)


def test_batch_norm_is_there_only_if_wanted():
    def kinds(model):
        return {type(module).__name__ for module in model.modules()}

    assert "BatchNorm1d" in kinds(MLP((5,), (4,), 2))
    assert "BatchNorm1d" not in kinds(MLP((5,), (4,), 2, batch_norm=False))


def test_seed_fixes_the_weights_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    a, b, c = (MLP((5,), (4,), 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(a.classifier.weight, b.classifier.weight)
    assert not torch.equal(a.classifier.weight, c.classifier.weight)


def test_seeded_restores_even_after_an_error():
    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="shape"), seeded(3):
        torch.rand(1).reshape(2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_bad_shapes():
    with pytest.raises(ValueError, match="widths is empty"):
        MLP((5,), (), 2)
    with pytest.raises(ValueError, match=r"needs \(channels, height, width\)"):
        CNN((64,), (4,), 2)


def test_resnet18_keeps_the_size_of_small_images():
    model = resnet18((3, 32, 32), 7, seed=1)
    inputs = torch.randn(2, 3, 32, 32)
    assert model.features(inputs).shape == (2, 512)
    assert model(inputs).shape == (2, 7)
    early = model.body.maxpool(model.body.conv1(inputs))
    assert early.shape == (2, 64, 32, 32)
    again = resnet18((3, 32, 32), 7, seed=1)
    assert torch.equal(model.body.layer4[1].conv2.weight, again.body.layer4[1].conv2.weight)
    with pytest.raises(ValueError, match="a ResNet needs"):
        resnet18((64,), 7)


def test_hidden_layers_end_at_the_features():
    model = MLP((1, 8, 8), (7, 5), 3, seed=0)
    inputs = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model.train()
    layers = hidden_layers(model, inputs)
    assert model.training
    assert [tuple(x.shape) for x in layers.values()] == [(6, 64), (6, 7), (6, 5)]
    model.eval()
    assert torch.equal(layers["layer 2"], model.features(inputs))
    odd = Classifier(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(ValueError, match=r"body is Flatten; expected an nn\.Sequential"):
        hidden_layers(odd, inputs)


# --- a decoder ------------------------------------------------------------------------------------


def test_a_decoder_gives_logits_at_each_place_that_know_nothing_later():
    network = CausalTransformer(tokens=6, num_classes=9, vocabulary=9, depth=2, dim=8, seed=0)
    words = torch.arange(12).reshape(2, 6) % 9
    logits = network(words)
    assert logits.shape == (2, 6, 9)
    other = words.clone()
    other[:, 4:] = 0
    assert torch.allclose(network(other)[:, :4], logits[:, :4], atol=1e-5)
    assert torch.allclose(network.features(words), network.states(words)[:, -1])


def test_tied_means_one_parameter_for_both():
    network = CausalTransformer(
        tokens=3, num_classes=5, vocabulary=5, depth=1, dim=8, seed=0, tied=True
    )
    assert network.classifier.weight is network.embedding.weight
    assert len([p for p in network.parameters() if p.shape == (5, 8)]) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "vocabulary is None and width None; expected one of them"),
        ({"vocabulary": 4, "width": 4}, "vocabulary is 4 and width 4; expected one of them"),
        ({"vocabulary": 4, "tied": True}, "tied with a vocabulary of 4 and 5 classes"),
        ({"width": 4, "tied": True}, "tied with a vocabulary of None and 5 classes"),
    ],
)
def test_a_decoder_that_cannot_be_built_says_why(given, said):
    with pytest.raises(ValueError, match=said):
        CausalTransformer(tokens=3, num_classes=5, depth=1, seed=0, **given)
