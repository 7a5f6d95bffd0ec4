"""The objectives on images: what they compute, against plain references."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.objectives import compared
from toolkit.models.task import Given
from toolkit.objectives.augmentation import augmented
from toolkit.objectives.contrastive import ContrastiveTask, nt_xent, vicreg
from toolkit.objectives.features import effective_rank, knn_accuracy, probe_accuracy, spread
from toolkit.objectives.image_task import ImageTask
from toolkit.objectives.masked_image import Hiding, MaskedImageTask
from toolkit.objectives.part import Part
from toolkit.objectives.pictures import table_of
from toolkit.objectives.registry import OBJECTIVES
from toolkit.objectives.rotation import RotationTask, turned
from toolkit.spec.augment import Augment, Blur, Colour, Crop, Flip, Turn
from toolkit.spec.model import ViT, resolve_architecture
from toolkit.spec.objective import Contrastive, Decoder, MaskedImage, RotationObjective

SHAPE = (3, 16, 16)
SECTIONS: dict[str, Any] = {
    "rotation": RotationObjective(kind="rotation"),
    "mae": MaskedImage(kind="masked_image", decoder=Decoder(d_model=16, n_heads=2)),
    "mae_normalised": MaskedImage(kind="masked_image", normalise=True),
    "simmim": MaskedImage(kind="masked_image", method="simmim", share=0.6),
    "simclr": Contrastive(kind="contrastive", augment=Augment(crop=Crop(), flip=Flip(), colour=Colour())),
    "vicreg": Contrastive(kind="contrastive", method="vicreg"),
}


def built(name: str, **options: Any) -> ImageTask:
    model = ViT(kind="vit", **({"n_layers": 2, "d_model": 32, "n_heads": 4, "n_registers": 1} | options))
    section = SECTIONS[name]
    arch = resolve_architecture(model, image_shape=SHAPE)
    task = OBJECTIVES[section.kind](section, Given(arch, ("a", "b", "c")))
    task.initialise(0)
    assert isinstance(task, ImageTask)
    return task


def images(rows: int = 6) -> torch.Tensor:
    return torch.randint(256, (rows, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_loss_and_gradients_everywhere(name: str, dtype: torch.dtype) -> None:
    task = built(name)
    task.compute_in(dtype)
    batch = {"inputs": images()}
    loss = task(batch)
    assert loss.total.dtype == torch.float32
    assert torch.isfinite(loss.total)
    (loss.total / task.weight(batch)).backward()
    silent = [n for n, p in task.named_parameters() if p.grad is None]
    assert silent == []


@pytest.mark.parametrize("name", SECTIONS)
def test_an_evaluation_s_report(name: str) -> None:
    task = built(name).eval()
    with torch.inference_mode():
        seen = [
            task.observe({"inputs": images(9), "label": torch.arange(9) % 3}),
            task.observe({"inputs": images(5), "label": torch.tensor([0, 1, 2, -1, -1])}),
        ]
    report = task.report(seen)
    assert {"feature_rank", "feature_std", "knn_accuracy", "probe_accuracy"} == report.metrics.keys()
    assert all(math.isfinite(value) for value in report.metrics.values())
    (picture,) = report.pictures.values()
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert report.embeddings is not None
    assert report.embeddings.vectors.shape == (14, 32)
    assert report.embeddings.labels[-3:] == ("c", "", "")
    unlabelled = task.report([task.observe({"inputs": images(4)})])
    assert unlabelled.metrics.keys() == {"feature_rank", "feature_std"}


def test_the_encoder_of_mae_sees_visible_patches_only() -> None:
    task = built("mae")
    assert isinstance(task, MaskedImageTask)
    x = images()
    torch.manual_seed(3)
    hiding = task.hide(len(x), x.device)
    assert hiding.hidden.shape == (6, 12)
    assert torch.equal(torch.cat(hiding, 1).sort(1).values, torch.arange(16).expand(6, -1))
    states, filled = task.encode_visible(x, hiding), task.predict(x, hiding)
    changed = x.clone()
    for row, places in enumerate(hiding.hidden.tolist()):
        for place in places:
            down, right = 4 * (place // 4), 4 * (place % 4)
            changed[row, :, down : down + 4, right : right + 4] += 100
    assert torch.equal(task.encode_visible(changed, hiding), states)
    assert torch.equal(task.predict(changed, hiding), filled)
    other = x.clone()
    place = int(hiding.visible[0, 0])
    other[0, :, 4 * (place // 4), 4 * (place % 4)] += 100
    assert not torch.equal(task.encode_visible(other, hiding)[0], states[0])


def test_the_loss_of_masked_images_is_that_of_hidden_patches() -> None:
    for name in ("mae", "mae_normalised", "simmim"):
        task = built(name)
        assert isinstance(task, MaskedImageTask)
        x = images()
        torch.manual_seed(5)
        loss = task({"inputs": x}).total / len(x)
        torch.manual_seed(5)
        hiding = task.hide(len(x), x.device)
        predicted = task.predict(x, hiding).detach()
        total, count = 0.0, 0
        for row in range(len(x)):
            for k, place in enumerate(hiding.hidden[row].tolist()):
                down, right = 4 * (place // 4), 4 * (place % 4)
                patch = x[row, :, down : down + 4, right : right + 4].float().flatten() / 127.5 - 1
                if task.objective.normalise:
                    patch = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
                error = predicted[row, k] - patch
                total += float((error.abs() if name == "simmim" else error.square()).sum())
                count += len(patch)
        assert float(loss) == pytest.approx(total / count, rel=1e-4)


def test_a_mask_token_stands_for_what_simmim_hides() -> None:
    task = built("simmim")
    assert isinstance(task, MaskedImageTask)
    x = images(2)
    places = torch.arange(16).expand(2, -1)
    hiding = Hiding(places[:, 10:], places[:, :10])
    changed = x.clone()
    changed[:, :, :8] = 0  # patches 0 to 7 are hidden
    assert torch.equal(task.predict(x, hiding), task.predict(changed, hiding))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_contrastive_loss_is_the_double_loop(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    loss, correct = nt_xent(first, second, temperature)
    views = [row / row.norm() for row in (*first, *second)]
    total, found = 0.0, 0
    for i, view in enumerate(views):
        positive = (i + 7) % 14
        scores = {j: float(view @ views[j]) / temperature for j in range(14) if j != i}
        total -= scores[positive] - math.log(sum(math.exp(s) for s in scores.values()))
        found += max(scores, key=scores.__getitem__) == positive
    assert float(loss) == pytest.approx(total / 2, rel=1e-9)
    assert float(correct) == found / 2


def test_the_contrastive_loss_has_the_gradient_of_its_value() -> None:
    generator = torch.Generator().manual_seed(0)
    views = [
        torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)
    ]
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.3)[0], views)
    assert torch.autograd.gradcheck(lambda a, b: vicreg(a, b, (25.0, 25.0, 1.0)), views)


@pytest.mark.parametrize("counts", [(4, 3), (3, 3, 1)], ids=str)
def test_ranks_compare_their_rows_with_those_of_all(counts: tuple[int, ...]) -> None:
    script = Path(__file__).with_name("compared.py")
    done = subprocess.run(
        [sys.executable, str(script), *map(str, counts)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = json.loads(done.stdout)
    for method in ("simclr", "vicreg"):
        views = compared.outputs(7).requires_grad_()
        loss = compared.loss(method, views, Part(0, 7, 7))
        loss.backward()
        expected = torch.cat((loss.detach()[None], views.grad.flatten()))
        torch.testing.assert_close(
            torch.tensor(found[method], dtype=torch.float64), expected, rtol=1e-12, atol=1e-12
        )


def test_vicreg_against_its_definition() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.randn(9, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = 25 * float(((first - second) ** 2).mean())
    for view in (first, second):
        covariance = torch.cov(view.T)
        std = (covariance.diagonal() + 1e-4).sqrt()
        expected += 25 * float((1 - std).clamp(min=0).mean()) / 2
        expected += float((covariance - covariance.diagonal().diag()).square().sum()) / 4
    assert float(vicreg(first, second, (25.0, 25.0, 1.0))) == pytest.approx(expected)


def test_turns_are_exact_and_all_four() -> None:
    x = images(2)
    views = turned(x)
    assert views.shape == (8, *SHAPE)
    assert torch.equal(views[:2], x)
    assert torch.equal(torch.rot90(views[2:4], -1, (2, 3)), x)
    assert torch.equal(torch.rot90(views[6:], 1, (2, 3)), x)
    task = built("rotation")
    assert isinstance(task, RotationTask)
    assert task.weight({"inputs": x}) == 8


def test_views_follow_the_seed_and_stay_pixels() -> None:
    x = images().float() / 255
    everything = Augment(crop=Crop(), flip=Flip(), turn=Turn(), colour=Colour(), blur=Blur(largest=0.2))

    def view(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return augmented(x, everything)

    assert torch.equal(view(1), view(1))
    assert not torch.equal(view(1), view(2))
    assert view(1).shape == x.shape
    assert view(1).min() >= 0
    assert view(1).max() <= 1 + 1e-5
    whole = view(1)
    torch.manual_seed(1)
    assert torch.equal(augmented(x[2:5], everything, Part(2, 3, len(x))), whole[2:5])
    after = []
    for first in (0, 2):
        torch.manual_seed(1)
        Part(first, 2, 4).draw_apart()
        after.append(torch.rand(5))
    assert not torch.equal(*after)


def test_parts_of_a_view() -> None:
    x = images().float() / 255
    nothing = Augment(
        crop=Crop(smallest=1, stretch=1),
        flip=Flip(share=0),
        turn=Turn(degrees=0, shear=0),
        colour=Colour(share=0, grey=0),
        blur=Blur(share=0),
    )
    torch.testing.assert_close(augmented(x, nothing), x, atol=1e-5, rtol=0)
    flipped = augmented(x, nothing.model_copy(update={"flip": Flip(share=1)}))
    torch.testing.assert_close(flipped, x.flip(3), atol=1e-5, rtol=0)
    grey = augmented(x, nothing.model_copy(update={"colour": Colour(share=0, grey=1)}))
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    blurred = augmented(x, nothing.model_copy(update={"blur": Blur(share=1, largest=0.2)}))
    assert blurred.var() < 0.9 * x.var()
    torch.testing.assert_close(blurred.mean(), x.mean(), atol=0.01, rtol=0)


def test_scores_of_features() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    noise = torch.randn(120, 16, generator=generator)
    told = noise + 4 * torch.nn.functional.one_hot(labels, 16)
    assert knn_accuracy(told, labels) > 0.9 > 0.6 > knn_accuracy(noise, labels)
    assert probe_accuracy(told, labels) > 0.9 > 0.6 > probe_accuracy(noise, labels)
    assert effective_rank(noise) > 12
    assert effective_rank(noise[:, :1] * torch.ones(16)) == pytest.approx(1, abs=0.01)
    assert spread(noise) == pytest.approx(1, abs=0.05)
    assert spread(torch.ones(120, 16) + 1e-4 * noise) < 0.01


def test_a_picture_has_images_side_by_side() -> None:
    grey = torch.zeros(2, 1, 8, 8)
    white = torch.ones(2, 1, 8, 8)
    picture = table_of([grey, white])
    assert picture.shape == (2 * 34, 2 * 34, 3)  # enlarged four times, framed
    assert picture[10, 10].tolist() == [0, 0, 0]
    assert picture[10, 44].tolist() == [255, 255, 255]


def test_a_batch_of_one_image_is_no_error() -> None:
    for name in ("simclr", "vicreg"):
        task = built(name)
        assert isinstance(task, ContrastiveTask)
        assert torch.isfinite(task({"inputs": images(1)}).total)
