import keras
import pytest

from bloodcell.errors import UserError
from bloodcell.models.blocks import blocks, boundary_at_block, boundary_at_fraction, boundary_at_layer, depths


def named(*names: str) -> keras.Model:
    """A chain of layers with these names, after the input."""
    image = tensor = keras.Input((4,), name="input")
    for name in names:
        tensor = keras.layers.Dense(4, name=name)(tensor)
    return keras.Model(image, tensor, name="chain")


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    return keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))


def test_the_blocks_of_mobilenetv2_are_found_from_the_input_up(mobilenet):
    assert blocks(mobilenet) == ["expanded_conv", *(f"block_{number}" for number in range(1, 17))]


# The beginnings of the layers' names as keras.applications write them.
@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ["block1_conv1", "block1_conv1_bn", "block2_sepconv1_act", "block14_sepconv1"],
            ["block1", "block2", "block14"],
        ),
        (["block1_conv1", "block1_pool", "block5_conv3"], ["block1", "block5"]),
        (["conv1_conv", "conv2_block1_1_conv", "conv2_block1_out", "pool2_bn"], ["conv2_block1"]),
        (["stem_conv", "block1a_project_conv", "block6h_add", "top_conv"], ["block1a", "block6h"]),
        (["expanded_conv_depthwise", "expanded_conv_1_expand", "expanded_conv_14_add"], None),
        (["convnext_tiny_stage_0_block_1_gelu", "convnext_tiny_stage_3_block_2_gelu"], None),
        (["conv2d", "mixed0", "activation_3"], []),
    ],
)
def test_the_blocks_of_other_applications_are_found(names, found):
    expected = [name.rpartition("_")[0] for name in names] if found is None else found
    assert blocks(named(*names)) == expected


def test_block_1_is_not_block_13(mobilenet):
    first, thirteenth = boundary_at_block(mobilenet, "block_1"), boundary_at_block(mobilenet, "block_13")
    assert mobilenet.layers[first].name == "block_1_expand"
    assert mobilenet.layers[thirteenth].name == "block_13_expand"
    below = [layer.name for layer in mobilenet.layers[:thirteenth]]
    assert below[-1] == "block_12_add"
    assert not [name for name in below if name.startswith("block_13")]


def test_a_block_begins_at_its_first_layer():
    model = named("block_13_a", "block_1_a", "block_1_b", "block_13_b")
    assert boundary_at_block(model, "block_1") == 2


def test_a_layer_with_the_name_of_a_block_is_a_block():
    assert boundary_at_block(named("stem", "mixed1", "mixed10"), "mixed1") == 2


def test_an_unknown_block_is_refused_with_the_last_blocks(mobilenet):
    with pytest.raises(UserError, match=r"^finetune: .* has no block block_17; .*block_15, block_16$"):
        boundary_at_block(mobilenet, "block_17")


def test_a_block_of_a_network_without_named_blocks_is_refused_with_advice():
    with pytest.raises(UserError, match=r"has no block block_1; .* use fraction or layer$"):
        boundary_at_block(named("conv2d", "mixed0"), "block_1")


def test_a_layer_is_found_by_its_whole_name(mobilenet):
    index = boundary_at_layer(mobilenet, "block_16_project")
    assert mobilenet.layers[index].name == "block_16_project"
    with pytest.raises(UserError, match=r"^finetune: .* has no layer block_16; .*out_relu$"):
        boundary_at_layer(mobilenet, "block_16")


@pytest.mark.parametrize(("fraction", "boundary"), [(0.01, 5), (0.2, 5), (0.4, 4), (0.6, 3), (1.0, 1)])
def test_a_fraction_counts_from_the_top_and_trains_at_least_one_layer(fraction, boundary):
    assert boundary_at_fraction(named("a", "b", "c", "d", "e"), fraction) == boundary


def test_a_fraction_counts_layers_that_have_weights():
    image = keras.Input((4,))
    tensor = keras.layers.Dense(4, name="lower")(image)
    tensor = keras.layers.ReLU()(keras.layers.Dense(4, name="upper")(tensor))
    model = keras.Model(image, keras.layers.ReLU()(keras.layers.ReLU()(tensor)))
    assert model.layers[boundary_at_fraction(model, 0.5)].name == "upper"


def test_depths_count_the_blocks_above_from_the_top_block_down(mobilenet):
    depth = {layer.name: found for layer, found in zip(mobilenet.layers, depths(mobilenet), strict=True)}
    assert [depth[name] for name in ("out_relu", "Conv_1", "block_16_project", "block_16_expand")] == [0] * 4
    assert [depth[name] for name in ("block_15_add", "block_14_expand", "block_1_expand")] == [1, 2, 15]
    assert depth["expanded_conv_project"] == depth["Conv1"] == 16


def test_without_named_blocks_all_depths_are_zero():
    image = keras.Input((8, 8, 3))
    plain = keras.Model(image, keras.layers.Conv2D(2, 3, name="only")(image))
    assert depths(plain) == [0, 0]
