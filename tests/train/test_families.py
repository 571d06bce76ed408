"""What holds for every family, on the smallest random model of it."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import PIL.Image
import pytest
import torch

from medclm.errors import MedclmError
from medclm.train import localize
from medclm.train.collate import collate, prompts
from medclm.train.encode import Encoder
from medclm.train.families import FAMILIES, bind, family_of
from medclm.train.losses import Weights, counts, loss_of
from medclm.train.model import add_lora, load_base
from medclm.train.views import make_view, pixels
from tests.train.conftest import make_record
from tests.train.tiny_families import MAKERS

NAMES = list(MAKERS)
SIZES = ((60, 80), (80, 60), (40, 110))


def records():
    """Three records of pictures of three shapes."""
    made = []
    for n, (height, width) in enumerate(SIZES):
        record, buffer = make_record(n), io.BytesIO()
        picture = PIL.Image.open(io.BytesIO(record.image.bytes)).resize((width, height))
        picture.save(buffer, "png")
        image = record.image.model_copy(update={"bytes": buffer.getvalue(), "width": width, "height": height})
        box = (width * 0.5, height * 0.25, width * 0.75, height * 0.75)
        steps = tuple(
            s.model_copy(update={"box_xyxy": box if s.box_xyxy else None}) for s in record.questions[0].reasoning
        )
        finding = record.findings[0].model_copy(update={"box_xyxy": box})
        asked = [q.model_copy(update={"reasoning": steps if q.reasoning else ()}) for q in record.questions]
        made.append(
            record.model_copy(
                update={"image_id": f"shape-{n}", "image": image, "findings": (finding,), "questions": tuple(asked)}
            )
        )
    return made


def views_of(family):
    return [make_view(r, r.questions[n], "medium", family) for n, r in enumerate(records())]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def base(name, family_bases):
    return family_bases(name)


def by_processor(loaded, view):
    """The processor's own inputs of one conversation."""
    processor = loaded.processor
    picture = PIL.Image.fromarray(pixels(view.image))
    if loaded.family.name == "paligemma":
        return processor(text="<image>" + view.question, images=picture, suffix=view.target, return_tensors="pt")
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": view.question}]},
        {"role": "assistant", "content": [{"type": "text", "text": view.target}]},
    ]
    text = processor.apply_chat_template(messages).rstrip()
    more = {"crop_to_patches": False} if loaded.family.name == "internvl" else {}
    return processor(text=[text], images=[[picture]], return_tensors="pt", add_special_tokens=False, **more)


def test_inputs_are_what_the_processor_makes(base):
    loaded, encoder = base
    if loaded.family.name == "llava_onevision":
        pytest.skip("its processor tiles; see test_onevision_shows_the_base_view")
    for view in views_of(loaded.family):
        ours, wanted = collate(encoder, [view]).inputs, by_processor(loaded, view)
        compared = set(ours) & set(wanted) - ({"token_type_ids"} if loaded.family.name == "paligemma" else set())
        assert {"input_ids", "pixel_values"} <= compared
        for key in compared:
            assert torch.equal(ours[key], wanted[key]), key


def test_the_grid_covers_the_image_tokens(base):
    loaded, encoder = base
    batch = collate(encoder, views_of(loaded.family), (1,))
    target = batch.localize
    frames = [loaded.family.frame_of(SIZES[n]) for n in target.examples.tolist()]
    for index, mask, weights, frame in zip(
        target.image_index, target.image_mask, target.weights[:, 0], frames, strict=True
    ):
        rows, columns = frame.grid_hw
        assert mask.sum() == rows * columns
        assert (index[mask].diff() == 1).all()
        grid = weights[mask].reshape(rows, columns)
        # the box spans x 1/2 to 3/4 and y 1/4 to 3/4 of every picture
        assert grid[:, : columns // 2].sum() == 0
        assert grid[rows // 2, columns // 2] == 1
        assert (weights[~mask] == 0).all()
    with torch.no_grad():
        assert torch.isfinite(loaded.model(**batch.inputs).logits).all()  # as many tokens as features, or it raises


def test_training_and_generation_see_the_same(base):
    """The first generated token's logits, left padded, are the training pass's at that place, right padded."""
    loaded, encoder = base
    views = views_of(loaded.family)[:2]
    with torch.no_grad():
        batch = collate(encoder, views)
        trained = loaded.model(**batch.inputs, logits_to_keep=batch.keep).logits
        asked = prompts(encoder, [pixels(v.image) for v in views], [v.question for v in views], "reason")
        out = loaded.model.generate(
            **asked, max_new_tokens=3, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    for n in range(2):
        assert torch.allclose(trained[batch.owner == n][0], out.logits[0][n], atol=1e-4)
    assert out.sequences.shape[1] > asked["input_ids"].shape[1]


def eager(directory):
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(directory, attn_implementation="eager")


def l_loc_of(attentions, target):
    """L_loc and the mass, sums over rows, from whole attention maps."""
    loss, masses = 0.0, 0.0
    for n, example in enumerate(target.examples.tolist()):
        tokens, used = target.image_index[n][target.image_mask[n]], target.row_mask[n]
        for row, place in zip(target.rows[n][used].tolist(), target.places[n][used].tolist(), strict=True):
            wanted = target.weights[n, place][target.image_mask[n]]
            seen = attentions[example, :, row][:, tokens]
            if seen.sum() == 0:  # behind the sliding window
                continue
            share = seen / seen.sum(-1, keepdim=True)
            mass = (share * wanted).sum(-1)
            masses += mass.mean().item()
            if target.form == "kl":
                box = wanted / wanted.sum()
                log_share = share.clamp(min=1e-30).log()
                loss = loss + (torch.xlogy(box, box) - torch.where(share > 0, box * log_share, 0)).sum(-1).mean()
            else:
                loss = loss + ((1 - mass) ** 2).mean()
    return loss, masses


@pytest.mark.parametrize("form", ["mass", "kl"])
def test_l_loc_is_that_of_eager_attention_with_gradients(name, family_dirs, base, form):
    _, encoder = base
    ours = load_base(str(family_dirs(name))).model
    layers = localize.install(ours, (), ())
    batch = collate(encoder, views_of(encoder.family), layers, (), form)
    ours(**batch.inputs, use_cache=False, localize=batch.localize)
    loss, mass = localize.total(batch.localize)
    oracle = eager(family_dirs(name))
    out = oracle(**batch.inputs, attention_mask=batch.attention_mask, output_attentions=True, use_cache=False)
    wanted, masses = l_loc_of(out.attentions[layers[0]], batch.localize)
    rows = int(batch.localize.row_mask.sum())
    assert loss.item() / rows == pytest.approx(wanted.item() / rows, abs=1e-5)
    assert mass.item() / rows == pytest.approx(masses / rows, abs=1e-5)
    (loss / rows).backward()
    (wanted / rows).backward()
    compared = 0
    for (key, a), (_, b) in zip(ours.named_parameters(), oracle.named_parameters(), strict=True):
        if b.grad is not None and b.grad.abs().sum() > 0:
            assert torch.allclose(a.grad, b.grad, atol=1e-5), key
            compared += 1
    assert compared > 10


def test_activation_checkpointing_changes_nothing(name, family_dirs, base):
    _, encoder = base
    grads = []
    for checkpointed in (False, True):
        model = load_base(str(family_dirs(name))).model.train()
        layers = localize.install(model, (), ())
        if checkpointed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        batch = collate(encoder, views_of(encoder.family), layers)
        share, _ = loss_of(model, batch, counts([batch]), Weights(1, 1, 1))
        share.backward()
        assert list(batch.localize.found) == list(layers)
        grads.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for key, grad in grads[0].items():
        assert torch.allclose(grad, grads[1][key], atol=1e-6), key


def test_boxes_of_any_picture_come_back_within_a_pixel_of_the_frame(base):
    family = base[0].family
    for size_hw in ((60, 80), (512, 512), (100, 30), (31, 1000)):
        height, width = size_hw
        frame_hw = family.frame_of(size_hw).frame_hw
        thin = (width * 0.3, height * 0.1, width * 0.31, height * 0.9)
        for box in ((0, 0, width, height), (width - 1.5, 0, width, 1.5), thin):
            (read,) = family.text_to_boxes(family.box_to_text(box, size_hw), size_hw)
            for got, true, side in zip(read, box, (1, 0, 1, 0), strict=True):
                assert abs(got - true) / size_hw[side] * frame_hw[side] <= 1 + 1e-9


def test_the_frame_is_what_the_processor_resizes_to(base):
    loaded, encoder = base
    for size_hw in SIZES:
        frame = loaded.family.frame_of(size_hw)
        seen = encoder.look(np.zeros((*size_hw, 3), np.uint8))
        if "image_grid_thw" in seen.tensors:
            patch = loaded.processor.image_processor.patch_size
            assert tuple(patch * seen.tensors["image_grid_thw"][0, 1:]) == frame.frame_hw
        else:
            assert tuple(seen.tensors["pixel_values"].shape[-2:]) == frame.frame_hw


def test_every_parameter_has_a_part_and_lora_stays_out_of_the_tower(name, family_dirs):
    loaded = load_base(str(family_dirs(name)))
    parts = {loaded.family.part_of(key) for key, _ in loaded.model.named_parameters()}
    assert parts == {"vision", "projector", "language"}
    assert loaded.family.part_of("lm_head.weight") == "language"
    model = add_lora(loaded.model, loaded.family, 2, 4, 0.0)
    adapted = [key for key, p in model.named_parameters() if p.requires_grad]
    assert {loaded.family.part_of(key) for key in adapted} <= {"projector", "language"}
    layers = loaded.model.config.get_text_config().num_hidden_layers
    assert sum("q_proj.lora_A" in key for key in adapted) == layers
    assert sum("down_proj.lora_A" in key for key in adapted) == layers


@pytest.fixture(scope="module")
def mesh():
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_sharded_blocks_give_the_same_loss(name, family_dirs, base, mesh):
    from torch.distributed.fsdp import fully_shard

    _, encoder = base
    found = []
    for sharded in (False, True):
        loaded = load_base(str(family_dirs(name)))
        layers = localize.install(loaded.model, (), ())
        if sharded:
            blocks = [(k, m) for k, m in loaded.model.named_modules() if type(m).__name__ in loaded.family.blocks]
            assert {loaded.family.part_of(key) for key, _ in blocks} == {"vision", "language"}
            for _, module in blocks:
                fully_shard(module, mesh=mesh)
            fully_shard(loaded.model, mesh=mesh)
        batch = collate(encoder, views_of(encoder.family), layers)
        share, seen = loss_of(loaded.model, batch, counts([batch]), Weights(1, 1, 1))
        share.backward()
        found.append((share.item(), float(seen["localization"])))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_saved_and_loaded_again_it_gives_the_same_logits(base, tmp_path):
    loaded, encoder = base
    loaded.model.save_pretrained(tmp_path)
    loaded.processor.save_pretrained(tmp_path)
    again = load_base(str(tmp_path))
    second = Encoder(again.processor, again.family, again.grid_hw)
    views = views_of(loaded.family)
    a, b = collate(encoder, views), collate(second, views)
    assert all(torch.equal(a.inputs[key], b.inputs[key]) for key in a.inputs)
    with torch.no_grad():
        assert torch.equal(loaded.model(**a.inputs).logits, again.model.eval()(**b.inputs).logits)


def test_onevision_shows_the_base_view(family_bases):
    loaded, encoder = family_bases("llava_onevision")
    square = np.asarray(PIL.Image.fromarray(np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)).resize((56, 56)))
    seen = encoder.look(square)
    tiled = loaded.processor.image_processor(PIL.Image.fromarray(square), return_tensors="pt")["pixel_values"]
    assert torch.equal(seen.tensors["pixel_values"][0], tiled[0, 0])
    assert seen.tokens == 17


def test_a_prefix_ends_where_generation_begins(family_bases):
    loaded, encoder = family_bases("paligemma")
    view = views_of(loaded.family)[0]
    batch = collate(encoder, [view])
    kinds, ids = batch.inputs["token_type_ids"][0], batch.inputs["input_ids"][0]
    prompt = prompts(encoder, [pixels(view.image)], [view.question], "reason")
    assert kinds.sum() == len(batch.targets)
    assert torch.equal(ids[kinds == 0], prompt["input_ids"][0])
    assert prompt["token_type_ids"].sum() == 0


def test_a_row_behind_the_window_has_no_loss(family_bases, family_dirs):
    model = load_base(str(family_dirs("gemma3"))).model
    _, encoder = family_bases("gemma3")
    assert localize.install(model, (), ()) == (1,)  # the one layer without a window
    assert localize.install(model, (0,), ()) == (0,)
    batch = collate(encoder, views_of(encoder.family)[:1], (0,))
    model(**batch.inputs, use_cache=False, localize=batch.localize)
    far = batch.localize.rows - batch.localize.image_index[:, -1:] >= 24
    assert far.any()
    assert not far.all()
    assert (batch.localize.found[0][0, :, far[0]] == 0).all()
    assert (batch.localize.masses[0][0, :, far[0]] == 0).all()
    assert batch.localize.masses[0][0, :, ~far[0]].sum() > 0


def test_unknown_family_lists_the_known_ones():
    with pytest.raises(MedclmError, match="smolvlm, idefics3, llava, vipllava") as error:
        family_of("bert")
    assert error.value.details["remedy"]


def test_bind_prepares_the_processor(loaded):
    family = bind(family_of("smolvlm"), loaded.processor)
    assert family.frame_size == 32
    assert loaded.processor.image_processor.do_image_splitting is False
    assert loaded.grid_hw == (4, 4)
    assert family.image_text(loaded.processor, {}).count("<image>") == 16


def test_every_family_of_the_table_is_tested(family_bases):
    assert {family_bases(name)[0].family.name for name in NAMES} == set(FAMILIES)
    types = {family_bases(name)[0].model.config.model_type for name in NAMES}
    assert types == {kind for family in FAMILIES.values() for kind in family.model_types}


def test_a_processor_that_disagrees_with_the_model(family_bases):
    loaded, _ = family_bases("llava-clip")
    with pytest.raises(MedclmError, match="other image tokens") as error:
        Encoder(loaded.processor, loaded.family, (24, 24))
    assert error.value.details["got"] == "4 x 4"


def test_a_processor_without_patches():
    from tests.train.tiny_families import llava

    _, processor = llava()
    processor.patch_size = None
    with pytest.raises(MedclmError, match="does not know the vision tower's patches"):
        bind(family_of("llava"), processor)
    processor.patch_size, processor.num_additional_image_tokens = 14, 0
    with pytest.raises(MedclmError, match="fewer image tokens"):
        bind(family_of("llava"), processor)


def test_registers_come_before_the_grid():
    from tests.train.tiny_families import llava

    _, processor = llava()
    processor.num_additional_image_tokens = 5  # a class token, which the strategy drops, and four registers
    assert bind(family_of("llava"), processor).frame_of((60, 80)).skip == 4


def test_a_picture_too_long_and_thin(family_bases):
    with pytest.raises(MedclmError, match="too long and thin"):
        family_bases("qwen2_5_vl")[0].family.frame_of((3, 1000))


def test_a_family_can_be_replaced():
    assert dataclasses.replace(FAMILIES["idefics3"], frame_size=96).box_to_text((20, 10, 41, 12), (48, 192)) == (
        "[10 20 20 24]"
    )
