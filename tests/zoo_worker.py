"""Capture whole families of networks from their own packages; `test_zoo.py` starts it.

Usage: zoo_worker.py torchvision|timm|transformers. Networks have random weights, and nothing is
downloaded. Prints a JSON list: of each network its name, and what is wrong or null.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ncourse.metrics import capture

generator = torch.Generator().manual_seed(0)
Case = tuple[str, Any, list[Any], Callable[[Any], torch.Tensor], dict[str, Any]]


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=generator)


def of_images(name: str, model: Any, size: int) -> Case:
    pixels = images(size)
    return name, model, [(pixels, torch.arange(2))], lambda model: model(pixels), {}


def torchvision() -> Iterator[Case]:
    from torchvision import models

    names = "alexnet vgg11 resnet18 squeezenet1_1 densenet121 googlenet mobilenet_v3_small"
    for name in f"{names} shufflenet_v2_x0_5 efficientnet_b0 vit_b_16 swin_t".split():
        options = {"init_weights": True} if name == "googlenet" else {}
        model = getattr(models, name)(weights=None, num_classes=10, **options)
        yield of_images(name, model, 224 if name == "vit_b_16" else 96)


def timm() -> Iterator[Case]:
    import timm

    names = (
        "resnet18 vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 convnext_atto mixer_s32_224 "
        "swin_tiny_patch4_window7_224 dm_nfnet_f0 efficientnet_b0 mobilenetv3_small_050 levit_128s "
        "regnetx_002 efficientformer_l1 densenet121 resmlp_12_224 tf_efficientnetv2_b0"
    )
    for name in names.split():
        yield of_images(name, timm.create_model(name, pretrained=False, num_classes=10), 224)


def transformers() -> Iterator[Case]:
    import transformers as t

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 37}  # fmt: skip
    texts = {**small, "vocab_size": 97, "max_position_embeddings": 40, "pad_token_id": 0}
    ids = torch.randint(5, 90, (4, 12), generator=generator)
    words = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    pixels = {"pixel_values": torch.randn(4, 3, 32, 32, generator=generator)}

    def case(name: str, model: Any, inputs: dict[str, Any], labels: Any, **more: Any) -> Case:
        return name, model, [inputs | {"labels": labels}], lambda m: m(**inputs).logits, more

    five, each = torch.arange(4) % 5, ids % 5
    bert = t.BertConfig(**texts, num_labels=5)
    yield case("bert", t.BertForSequenceClassification(bert), words, five)
    roberta = t.RobertaConfig(**texts, num_labels=5)
    yield case("roberta", t.RobertaForSequenceClassification(roberta), words, five)
    distil = t.DistilBertConfig(
        vocab_size=97, dim=32, n_layers=2, n_heads=2, hidden_dim=37, num_labels=5
    )
    yield case("distilbert", t.DistilBertForSequenceClassification(distil), words, five)
    yield case("bert, tokens", t.BertForTokenClassification(bert), words, each)
    vit = t.ViTConfig(**small, image_size=32, patch_size=8, num_labels=5)
    yield case("vit", t.ViTForImageClassification(vit), pixels, five)
    gpt = t.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=2, n_positions=40)
    yield case("gpt2", t.GPT2LMHeadModel(gpt), words, ids)
    llama = t.LlamaConfig(**texts, num_key_value_heads=2)
    yield case("llama", t.LlamaForCausalLM(llama), words, ids)
    convnext = t.ConvNextConfig(hidden_sizes=[8, 16, 32, 32], depths=[1, 1, 1, 1], num_labels=5)
    yield case("convnext", t.ConvNextForImageClassification(convnext), pixels, five)


def wrong(case: Case) -> str | None:
    """What `capture` gets wrong: the decisions, or features that W h + b does not rebuild."""
    _, model, batches, run, options = case
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is not W h")
        captured = capture(model, batches, **options)
    with torch.no_grad():
        logits = run(model.eval()).flatten(0, -2)
    if not torch.equal(captured.predictions, logits.argmax(1)):
        return "decides otherwise"
    bias = 0 if captured.bias is None else captured.bias
    rebuilt = captured.features @ captured.weight.T + bias
    near = bool(torch.isclose(rebuilt, logits, rtol=1e-3, atol=1e-4).all())
    return None if near == captured.is_linear else f"is_linear is {captured.is_linear}"


def main(family: str) -> None:
    torch.manual_seed(0)
    found = []
    for case in {"torchvision": torchvision, "timm": timm, "transformers": transformers}[family]():
        try:
            found.append((case[0], wrong(case)))
        except (RuntimeError, ValueError, TypeError) as error:  # to name all that fail, not one
            found.append((case[0], f"{type(error).__name__}: {error}"))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
