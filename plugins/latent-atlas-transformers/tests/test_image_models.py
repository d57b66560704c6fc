"""Image models: what they see is what their image processors make, and layers and poolings are those of the library."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import pytest
import torch
import transformers
from PIL import Image

import atlas
from atlas import AtlasError
from atlas.items.batches import decode
from atlas.testing import check_encoder
from atlas_transformers import TransformersImage
from atlas_transformers.checkpoint import UnfitError
from atlas_transformers.loading import quietly
from atlas_transformers.pictures import picture_of

PROCESSORS = {
    "vit": lambda: checkpoints.processor(side=48),
    "vit-bicubic": lambda: checkpoints.processor(side=48, resample=3),
    "nearest": lambda: checkpoints.processor(side=48, resample=0),
    "no-resize": lambda: checkpoints.processor(do_resize=False),
    "no-normalize": lambda: checkpoints.processor(side=48, do_normalize=False),
    "no-rescale": lambda: checkpoints.processor(side=48, do_rescale=False),
    "clip": lambda: checkpoints.cut("CLIPImageProcessorPil"),
    "crop-larger-than-image": lambda: checkpoints.cut("CLIPImageProcessorPil", short=20),
    "dinov2": lambda: checkpoints.cut("BitImageProcessorPil", short=50),
    "convnext": lambda: checkpoints.convnext(64),
    "convnext-large": lambda: checkpoints.convnext(384),
    "deit": lambda: checkpoints.cut("DeiTImageProcessorPil"),
    "siglip": lambda: checkpoints.processor("SiglipImageProcessorPil"),
    "efficientnet": lambda: checkpoints.processor("EfficientNetImageProcessorPil", rescale_offset=True),
    "mobilevit": lambda: checkpoints.cut("MobileViTImageProcessorPil"),
    "levit": lambda: checkpoints.cut("LevitImageProcessorPil"),
}


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Return an image of soft patches with some noise, as photographs are."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand(1, 3, 5, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(patches, (height, width), mode="bilinear")[0]
    noisy = smooth + 0.05 * torch.randn(3, height, width, generator=generator)
    return Image.fromarray((255 * noisy.clamp(0, 1)).byte().permute(1, 2, 0).numpy())


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [picture(40, 40, 1), picture(64, 90, 2), picture(120, 50, 3), picture(31, 200, 4)]


def encode(encoder: TransformersImage, items, **how) -> torch.Tensor:
    return torch.cat(list(encoder.encode(items, **how)))


def seen(folder: str, pictures: list[Image.Image]) -> torch.Tensor:
    """Return what the library makes of images before a model sees them."""
    with quietly():
        made = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        return made(pictures, return_tensors="pt")["pixel_values"]


def pixels(encoder: TransformersImage, images: torch.Tensor) -> torch.Tensor:
    """Return what a model sees of images."""
    reader = encoder.module()
    return reader.features(reader.picture.sized(images))["pixel_values"]


@pytest.mark.parametrize("row", ["vit", "resnet", "convnext", "swin", "siglip", "mobilenet"])
def test_it_keeps_the_promises_of_encoders(made, row):
    check_encoder(TransformersImage(made(row)[0]))


@pytest.mark.parametrize("name", PROCESSORS)
def test_an_image_is_made_ready_as_the_processor_of_the_model_does_it(name, pictures):
    with quietly():
        processor = PROCESSORS[name]()
    made = picture_of(processor)
    for image in pictures:
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        ours = made.scaled(made.sized(decode(image)[None]))
        assert ours.shape == theirs.shape
        # In 255ths of the range of a pixel: no more than the rounding of Pillow.
        difference = 255 * (ours - theirs).abs() * torch.tensor(made.std).view(1, -1, 1, 1)
        assert difference.max() < 4 and difference.mean() < 0.4


@pytest.mark.parametrize(("row", "pooling"), [("vit", "cls"), ("beit", "pooler"), ("resnet", "mean"), ("clip", "cls")])
def test_vectors_of_images_of_any_size_are_the_librarys(made, pictures, row, pooling):
    folder, model = made(row)
    with torch.no_grad():
        part = model.vision_model if row == "clip" else model.base_model
        out = part(pixel_values=seen(folder, pictures))
    state = out.last_hidden_state
    expected = {"cls": lambda: state[:, 0], "pooler": lambda: out.pooler_output, "mean": lambda: state.mean((2, 3))}
    vectors = encode(TransformersImage(folder, pooling=pooling), pictures)
    # Pillow rounds a few pixels otherwise, and random weights make much of it.
    torch.testing.assert_close(vectors, expected[pooling]().flatten(1), rtol=0, atol=0.1)


@pytest.mark.parametrize(("row", "tokens"), [("vit", 1), ("deit", 2), ("dinov2", 5), ("swin", 0)])
def test_a_mean_is_over_places_and_not_over_the_tokens_before_them(made, row, tokens):
    folder, model = made(row)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = TransformersImage(folder)
    with torch.no_grad():
        values = pixels(encoder, images)
        expected = model.base_model(pixel_values=values).last_hidden_state[:, tokens:].mean(1)
    torch.testing.assert_close(encode(encoder, images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("row", "layers"), [("vit", 4), ("resnet", 4), ("convnext", 4)])
def test_every_layer_is_a_space(made, row, layers):
    folder, model = made(row)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values = pixels(TransformersImage(folder), images)
        states = model.base_model(pixel_values=values, output_hidden_states=True).hidden_states
    assert len(states) == layers
    for layer in range(layers - 1):
        state = states[layer]
        expected = state[:, 1:].mean(1) if row == "vit" else state.mean((2, 3))
        for number in (layer, layer - layers):
            made_here = encode(TransformersImage(folder, layer=number), images)
            torch.testing.assert_close(made_here, expected, rtol=0, atol=1e-5)


def test_cls_mean_is_the_two_side_by_side(made, pictures):
    folder, _ = made("dinov2")
    parts = [encode(TransformersImage(folder, pooling=pooling), pictures) for pooling in ("cls", "mean")]
    both = encode(TransformersImage(folder, pooling="cls-mean"), pictures)
    torch.testing.assert_close(both, torch.cat(parts, 1), rtol=0, atol=0)


def test_the_projections_of_clip_are_one_space_for_texts_and_images(made, pictures):
    folder, model = made("clip")
    encoder = TransformersImage(folder, pooling="projection")
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=seen(folder, pictures)).pooler_output
    torch.testing.assert_close(encode(encoder, pictures), expected, rtol=0, atol=0.1)
    assert encoder.dim == 16


@pytest.mark.parametrize("row", ["vit", "dinov2"])
def test_the_module_makes_the_vectors_of_images_of_any_size(made, row):
    encoder = TransformersImage(made(row)[0], pooling="cls")
    for side in (20, 32, 50):
        images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(side))
        with torch.no_grad():
            torch.testing.assert_close(encoder.module()(images), encode(encoder, images), rtol=0, atol=1e-5)
    assert not encoder.module().training


@pytest.mark.parametrize(("row", "side"), [("vit", 32), ("dinov2", 40), ("convnext", 73)])
def test_an_image_of_the_shape_that_is_told_is_not_resized(made, row, side):
    encoder = TransformersImage(made(row)[0])
    assert encoder.input_shape == [3, side, side]
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert torch.equal(encoder.module().picture._resized(image), image)


@pytest.mark.parametrize("row", ["vit", "resnet"])
def test_the_module_can_be_traced_for_exporters(made, row):
    module = TransformersImage(made(row)[0]).module()
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), quietly():
        program = torch.export.export(module, (images,)).module()
        torch.testing.assert_close(program(images), module(images), rtol=0, atol=1e-5)


def test_a_folder_of_images_is_encoded(made, pictures, tmp_path):
    for i, image in enumerate(pictures):
        (tmp_path / f"class-{i % 2}").mkdir(exist_ok=True)
        image.save(tmp_path / f"class-{i % 2}" / f"{i}.png")
    vectors = atlas.encode("transformers-image", tmp_path, model=made("vit")[0], pooling="cls")
    expected = encode(TransformersImage(made("vit")[0], pooling="cls"), pictures)
    order = [int(Path(name).stem) for name in vectors.ids]
    torch.testing.assert_close(vectors.data, expected[order], rtol=0, atol=1e-5)
    assert vectors.classes == ("class-0", "class-1")


def test_a_processor_that_does_something_else_is_refused():
    with quietly():
        lanczos = checkpoints.processor(resample=1)
        shortest_and_longest = checkpoints.processor(size={"shortest_edge": 32, "longest_edge": 40})
    for processor in (lanczos, shortest_and_longest):
        with pytest.raises(
            UnfitError, match="cannot do the work of the image processor ViTImageProcessor - give a model"
        ):
            picture_of(processor)


def test_a_processor_that_does_more_than_its_settings_say_is_refused():
    class Shouting(transformers.ViTImageProcessorPil):
        def normalize(self, image, mean, std, **how):
            return 2 * super().normalize(image, mean, std, **how)

    with quietly(), pytest.raises(UnfitError, match="cannot do the work of the image processor"):
        picture_of(Shouting(size={"height": 32, "width": 32}))


@pytest.mark.parametrize(
    ("row", "options", "sentence"),
    [
        (
            "resnet",
            {"pooling": "cls"},
            "cannot pool by 'cls', since this model has no class token - choose mean or max",
        ),
        ("vit", {"layer": 9}, r"has layers 0 \(embeddings\) to 3, or -1 \(the last\) to -4, got 9"),
        ("vit", {"pooling": "pooler"}, "lacks weights: .* - choose another pooling"),
        ("mae", {}, "makes other vectors of the same item each time with this model - give another"),
        ("bert", {}, "takes images, but models of type 'bert' read input_ids - give another"),
    ],
)
def test_options_that_do_not_go_with_a_model_are_told(made, row, options, sentence):
    with pytest.raises(AtlasError, match=f"Encoder 'transformers-image' {sentence}"):
        TransformersImage(made(row)[0], **options).module()


def test_a_model_without_its_image_processor_is_refused(made, tmp_path):
    checkpoints.saved(tmp_path, made("vit")[1])
    with pytest.raises(
        AtlasError, match=r"finds no preprocessor_config\.json - save the image processor beside the model"
    ):
        TransformersImage(str(tmp_path)).space()


def test_images_of_a_size_that_the_model_cannot_see_are_told(tmp_path):
    model = checkpoints.seeded(transformers.ViTModel, transformers.ViTConfig(**checkpoints._VIT))
    checkpoints.saved(tmp_path, model, checkpoints.processor(do_resize=False))
    encoder = TransformersImage(str(tmp_path))
    assert encoder.space().dim == 32
    with pytest.raises(
        AtlasError, match=r"cannot make vectors with this model: ValueError: Input image size \(64\*64\)"
    ):
        encode(encoder, torch.rand(1, 3, 64, 64))
