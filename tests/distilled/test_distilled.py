import io
import json
import os
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pairstill.core.errors import ArtifactError, NumericalError
from pairstill.distilled import DistilledSet, compose_similarity, stored_pairs
from pairstill.distilled.real import Mixtures, decoded
from pairstill.storage import file_digest, load_tensors, save_tensors
from pairstill.storage.checksums import sealed

KINDS = ("full", "low_rank", "identity")


@pytest.fixture
def make(make_phase):
    """Return a function that makes a set of two phases, of 4 and 3 pairs, whose similarities are of a kind."""

    def build(kind="full"):
        return DistilledSet(
            (make_phase(kind, 4), make_phase(kind, 3, seed=1)),
            {"name": "tiny", "size": 4, "mean": [0.5, 0.25, 0.125]},
            {"name": "hashed_ngrams", "width": 6},
            {"kind": "linear", "width": None},
            "infonce" if kind == "identity" else "wbce",
            {"method": "ptm_st", "seed": 3, "data": {"fingerprint": "abc"}},
        )

    return build


def manifest_of(folder):
    return json.loads((folder / "distilled.json").read_text(encoding="utf-8"))


def rewrite(folder, change):
    """Change the manifest, and seal it anew."""
    content = manifest_of(folder)
    change(content)
    (folder / "distilled.json").write_text(json.dumps(sealed(content)), encoding="utf-8")


def retensor(folder, change):
    """Change the tensors, and let the manifest name their new digest."""
    path = folder / "distilled.safetensors"
    tensors = load_tensors(path)
    change(tensors)
    save_tensors(path, tensors)
    rewrite(folder, lambda content: content["tensors"].update(sha256=file_digest(path)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_loaded_to_the_bit(make, tmp_path, kind):
    written = make(kind)
    written.save(tmp_path / "set")
    read = DistilledSet.load(str(tmp_path / "set"))
    for old, new in zip(written.phases, read.phases, strict=True):
        assert torch.equal(old.images, new.images) and torch.equal(old.text_embeddings, new.text_embeddings)
        assert old.similarity_factors.keys() == new.similarity_factors.keys()
        assert all(torch.equal(old.similarity_factors[n], new.similarity_factors[n]) for n in old.similarity_factors)
        assert torch.equal(old.similarity, new.similarity)
        assert (old.inner_lr_image, old.inner_lr_text) == (new.inner_lr_image, new.inner_lr_text)
        assert (old.captions, old.sources) == (new.captions, new.sources)
    for name in ("image_encoder", "text_encoder", "heads", "loss", "provenance"):
        assert getattr(read, name) == getattr(written, name)


def test_saving_again_gives_the_same_files(make, tmp_path):
    make().save(tmp_path / "a")
    DistilledSet.load(tmp_path / "a").save(tmp_path / "b")
    for name in ("distilled.json", "distilled.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"distilled.json", "distilled.safetensors"}


def test_similarities_of_the_three_kinds_by_hand():
    assert torch.equal(compose_similarity({}, 3), torch.eye(3))
    assert compose_similarity({}, 3, torch.device("meta")).device.type == "meta"  # where the pairs are
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(compose_similarity({"matrix": matrix}, 2), matrix)
    low_rank = {
        "weights": torch.tensor([1.0, 2.0]),
        "left": torch.tensor([[1.0], [3.0]]),
        "right": torch.tensor([[10.0], [20.0]]),
        "scale": torch.tensor(0.5),
    }
    # rows are images: entry (0, 1) is 0.5 * left_0 * right_1
    assert compose_similarity(low_rank, 2).tolist() == [[6, 10], [15, 32]]


@pytest.mark.parametrize(("kind", "factors"), [("full", 4 * 4), ("low_rank", 4 + 2 * 4 * 2 + 1), ("identity", 0)])
def test_storage_by_hand(make, make_phase, kind, factors):
    # per pair an image of 3 x 4 x 5 and a text of 6; two learned rates; four bytes each
    one = make_phase(kind, 4)
    assert one.storage_bytes == 4 * (4 * (60 + 6) + 2 + factors)
    both = make(kind)
    assert both.num_pairs == 7
    assert both.storage_bytes == one.storage_bytes + make_phase(kind, 3, seed=1).storage_bytes
    assert both.pairs_equivalent == pytest.approx(both.storage_bytes / (4 * 66))
    assert both.pairs_equivalent > 7


def test_the_manifest_says_what_is_stored(make, tmp_path):
    distilled = make()
    distilled.save(tmp_path)
    content = manifest_of(tmp_path)
    assert content["format"] == "pairstill.distilled_set" and content["version"] == 1
    assert (content["num_pairs"], content["storage_bytes"]) == (7, distilled.storage_bytes)
    assert content["pairs_equivalent"] == pytest.approx(distilled.pairs_equivalent, abs=1e-3)
    assert [entry["num_pairs"] for entry in content["phases"]] == [4, 3]
    assert content["phases"][1]["pairs"][2] == {"caption": "caption 1 2 mit Straße", "source": "1/2.png"}
    assert "Straße" in (tmp_path / "distilled.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", ["images", "text_embeddings", "matrix"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_saved(make, tmp_path, part, value):
    distilled = make()
    bad = distilled.phases[1]
    (bad.similarity_factors[part] if part == "matrix" else getattr(bad, part))[0, 0] = value
    with pytest.raises(NumericalError, match=rf"phase2/.*{part} holds values that are not finite; it is not saved"):
        distilled.save(tmp_path / "set")
    assert not (tmp_path / "set").exists()


# what is real


def photo(shade, size=6):
    """A JPEG file of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.fixture
def kept(make):
    """A set whose first phase has photos that are kept, and mixtures of captions in both."""
    made = make()
    first, second = made.phases
    photos = tuple(photo(50 * i) for i in range(4))
    encoder = {**made.image_encoder, "std": [0.5, 0.5, 0.5]}
    images = decoded(photos, encoder)
    mixed = [Mixtures(((f"a{n}", "b"),) * n, torch.rand(n, 2) + 0.1) for n in (4, 3)]
    first = replace(first, images=images, photos=photos, mixtures=mixed[0], sources=tuple(f"x/{i}.JPG" for i in "abcd"))
    return replace(made, phases=(first, replace(second, mixtures=mixed[1])), image_encoder=encoder)


def test_photos_are_stored_as_the_files_that_they_were(kept, tmp_path):
    kept.save(tmp_path / "set")
    files = sorted(path.name for path in (tmp_path / "set" / "photos" / "phase1").iterdir())
    assert files == ["0000.jpg", "0001.jpg", "0002.jpg", "0003.jpg"]
    assert (tmp_path / "set" / "photos" / "phase1" / "0002.jpg").read_bytes() == kept.phases[0].photos[2]
    tensors = load_tensors(tmp_path / "set" / "distilled.safetensors")
    assert "phase1/images" not in tensors and tensors["phase1/photos"].shape == (4, 32)
    read = DistilledSet.load(tmp_path / "set")
    assert read.photos == kept.photos and torch.equal(read.phases[0].images, kept.phases[0].images)
    assert read.storage_bytes == kept.storage_bytes  # the convention counts a pixel as a float32
    for old, new in zip(kept.phases, read.phases, strict=True):
        assert old.mixtures.captions == new.mixtures.captions
        assert torch.equal(old.mixtures.weights, new.mixtures.weights)


def test_a_grey_photo_by_hand():
    # 102 / 255 = 0.4: (0.4 - 0.5) / 0.25
    found = decoded([photo(102)], {"size": 3, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)})
    torch.testing.assert_close(found, torch.full((1, 3, 3, 3), -0.4))


def test_photos_are_seen_on_the_background_that_they_were_learned_on(kept, tmp_path):
    stream = io.BytesIO()
    Image.new("RGBA", (6, 6), (0, 0, 0, 0)).save(stream, "PNG")
    encoder = {"size": 3, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    clear = (stream.getvalue(),) * 4
    assert decoded(clear, encoder).unique().tolist() == [1] and decoded(clear, encoder, "black").unique().tolist() == [
        0
    ]
    first = replace(kept.phases[0], photos=clear, images=decoded(clear, encoder, "black"))
    black = replace(kept, phases=(first,), image_encoder=encoder, background="black")
    black.save(tmp_path / "set")
    read = DistilledSet.load(tmp_path / "set")
    assert read.background == "black" and torch.equal(read.phases[0].images, first.images)
    assert DistilledSet.from_parts(kept.description(), kept.tensors(), kept.photos).background == "white"
    rewrite(tmp_path / "set", lambda content: content.update(background="no colour"))
    with pytest.raises(ArtifactError, match="which is no colour"):
        DistilledSet.load(tmp_path / "set")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: path.write_bytes(photo(7)), "missing, or was changed"),
        (lambda path: path.unlink(), "does not exist; copy the whole folder"),
    ],
)
def test_photos_that_are_not_what_they_were_are_refused(kept, tmp_path, change, what):
    kept.save(tmp_path / "set")
    change(tmp_path / "set" / "photos" / "phase1" / "0001.jpg")
    with pytest.raises(ArtifactError, match=what):
        DistilledSet.load(tmp_path / "set")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "photos/../../x", 3, "a\0b"])
def test_photos_outside_of_the_set_are_not_read(kept, tmp_path, name):
    kept.save(tmp_path / "set")
    rewrite(tmp_path / "set", lambda content: content["phases"][0]["pairs"][0].update(photo=name))
    with pytest.raises(ArtifactError):
        DistilledSet.load(tmp_path / "set")


def test_a_photo_that_does_not_decode_is_named(kept, tmp_path):
    broken = replace(kept.phases[0], photos=(*kept.phases[0].photos[:3], b"no photo"))
    with pytest.raises(ArtifactError, match="photo 3 of the distilled set cannot be decoded"):
        replace(kept, phases=(broken, kept.phases[1])).save(tmp_path / "set")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pair: pair.update(mixture=["a"]),
        lambda pair: pair.update(mixture=[1, 2]),
        lambda pair: pair.pop("mixture"),
    ],
)
def test_mixtures_that_do_not_go_with_their_weights_are_refused(kept, tmp_path, spoil):
    kept.save(tmp_path / "set")
    rewrite(tmp_path / "set", lambda content: spoil(content["phases"][1]["pairs"][0]))
    with pytest.raises(ArtifactError, match="lacks or garbles"):
        DistilledSet.load(tmp_path / "set")


def test_a_glossary_is_stored_and_one_that_is_garbled_is_refused(make, tmp_path):
    plain = make()
    assert "glossary" not in plain.description()
    replace(plain, glossary=("a dog", "née")).save(tmp_path / "set")
    assert DistilledSet.load(tmp_path / "set").glossary == ("a dog", "née")
    rewrite(tmp_path / "set", lambda content: content.update(glossary=["a dog", 3]))
    with pytest.raises(ArtifactError, match="lacks or garbles 3, which must be a caption"):
        DistilledSet.load(tmp_path / "set")


def test_only_captions_that_play_a_part_are_encoded():
    mixtures = Mixtures((("b", "a"), ("a", "c")), torch.tensor([[1.0, 2.0], [1.0, 0.0]]))
    assert mixtures.distinct() == ["b", "a"]
    mixed = mixtures.mixed({"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.0, 1.0])})
    assert mixed.tolist() == [[2.0, 1.0], [1.0, 0.0]]


def test_mixtures_of_nothing_but_0_are_texts_of_0():
    nothing = Mixtures((("b", "a"),), torch.zeros(1, 2))
    assert nothing.distinct() == ["b"]
    assert nothing.mixed({"b": torch.ones(3)}).tolist() == [[0.0, 0.0, 0.0]]
    with pytest.raises(ValueError, match="mixtures of 1 texts"):
        Mixtures.of([[]], torch.zeros(1, 0))


# what goes wrong


def changed_phase(distilled, **values):
    first, *others = distilled.phases
    return replace(distilled, phases=(replace(first, **values), *others))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, phases=()),
        lambda s: replace(s, loss="mse"),
        lambda s: replace(s, provenance={"made": object()}),
        lambda s: replace(s, provenance={"made": float("nan")}),
        lambda s: replace(s, provenance={"made": "\ud800"}),
        lambda s: changed_phase(s, inner_lr_image=0.0),
        lambda s: changed_phase(s, inner_lr_text=float("inf")),
        lambda s: changed_phase(s, captions=s.phases[0].captions[1:]),
        lambda s: changed_phase(s, sources=s.phases[0].sources * 2),
        lambda s: changed_phase(s, captions=(1, 2, 3, 4)),
        lambda s: changed_phase(s, images=s.phases[0].images[:2]),
        lambda s: changed_phase(s, images=s.phases[0].images.to(torch.uint8)),
        lambda s: changed_phase(s, images=s.phases[0].images[:, :1]),
        lambda s: changed_phase(s, text_embeddings=s.phases[0].text_embeddings[..., None]),
        lambda s: changed_phase(s, similarity_factors={"matrix": torch.eye(3)}),
        lambda s: changed_phase(s, similarity_factors={"other": torch.eye(4)}),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(make, tmp_path, change):
    make().save(tmp_path / "set")
    before = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    with pytest.raises(ArtifactError, match="not saved"):
        change(make()).save(tmp_path / "set")
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == before


def test_tensors_that_are_a_pipe_are_not_waited_for(make, tmp_path):
    make().save(tmp_path)
    (tmp_path / "distilled.safetensors").unlink()
    os.mkfifo(tmp_path / "distilled.safetensors")
    with pytest.raises(ArtifactError, match="distilled.safetensors cannot be read .it is not a file"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_handed_out_is_ones_own_to_change(make, kind):
    distilled, untouched = make(kind), make(kind)
    for item in distilled.dataset():
        item["image"].zero_()
        item["text_embedding"] += 1
    distilled.phases[0].similarity.fill_(7)
    assert all(torch.equal(value, untouched.tensors()[name]) for name, value in distilled.tensors().items())


def test_a_folder_without_a_set(tmp_path):
    with pytest.raises(ArtifactError, match=r"distilled\.json does not exist"):
        DistilledSet.load(tmp_path)


def test_a_set_without_its_tensors(make, tmp_path):
    make().save(tmp_path)
    (tmp_path / "distilled.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"distilled\.safetensors does not exist; copy the whole folder"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_a_manifest_that_is_not_json(make, tmp_path, text):
    make().save(tmp_path)
    (tmp_path / "distilled.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"distilled\.json is not valid JSON"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize(
    "content", [[], "text", 1, None, {}, {"format": "other", "version": 1}, {"format": "pairstill.distilled_set"}]
)
def test_json_of_something_else(tmp_path, content):
    (tmp_path / "distilled.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="is not a distilled set of format version 1"):
        DistilledSet.load(tmp_path)


def test_a_set_of_a_later_version(make, tmp_path):
    make().save(tmp_path)
    rewrite(tmp_path, lambda content: content.update(version=2))
    with pytest.raises(ArtifactError, match="is not a distilled set of format version 1"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:-4], lambda data: data[:-1] + b"\x7f", lambda data: b""])
def test_tensors_that_were_changed_or_cut_short(make, tmp_path, damage):
    make().save(tmp_path)
    path = tmp_path / "distilled.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtifactError, match="does not match its manifest; it was changed or cut short"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("phases"),
        lambda content: content.pop("loss"),
        lambda content: content.pop("tensors"),
        lambda content: content.update(phases=None),
        lambda content: content["phases"][0].pop("pairs"),
        lambda content: content["phases"][0].update(inner_lr_image=None),
        lambda content: content["phases"][0].update(inner_lr_text="fast"),
        lambda content: content["phases"][0].update(similarity_factors=["no_such_factor"]),
        lambda content: content["phases"][0]["pairs"][0].pop("caption"),
        lambda content: content["phases"].append(content["phases"][0]),
        lambda content: content["phases"].append("phase"),
        lambda content: content.update(image_encoder=[]),
        lambda content: content.update(provenance=None),
        lambda content: content["phases"][0]["pairs"][0].update(caption=5),
    ],
)
def test_a_manifest_with_missing_or_garbled_entries(make, tmp_path, change):
    make().save(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(ArtifactError, match=r"distilled\.json lacks or garbles .*; distil again"):
        DistilledSet.load(tmp_path)


def test_a_set_without_phases(make, tmp_path):
    make().save(tmp_path)
    rewrite(tmp_path, lambda content: content.update(phases=[]))
    with pytest.raises(ArtifactError, match="no phases"):
        DistilledSet.load(tmp_path)


def test_a_loss_that_students_cannot_train_with(make, tmp_path):
    make().save(tmp_path)
    rewrite(tmp_path, lambda content: content.update(loss="hinge"))
    with pytest.raises(ArtifactError, match="'hinge'.*wbce.*infonce"):
        DistilledSet.load(tmp_path)


def test_a_set_from_before_info_nce_was_a_choice_took_the_sum(make, tmp_path):
    make("identity").save(tmp_path)
    assert DistilledSet.load(tmp_path).info_nce == "mean"
    rewrite(tmp_path, lambda content: content.update(info_nce="product"))
    with pytest.raises(ArtifactError, match="'product'.*mean, sum"):
        DistilledSet.load(tmp_path)
    rewrite(tmp_path, lambda content: content.pop("info_nce"))
    assert DistilledSet.load(tmp_path).info_nce == "sum"


def shortened(name):
    return lambda tensors: tensors.update({name: tensors[name][:-1]})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("full", "phase2/images"),
        ("full", "phase1/text_embeddings"),
        ("full", "phase1/similarity/matrix"),
        ("low_rank", "phase1/similarity/weights"),
        ("low_rank", "phase1/similarity/left"),
        ("low_rank", "phase2/similarity/right"),
    ],
)
def test_parts_of_different_numbers_of_pairs(make, tmp_path, kind, name):
    make(kind).save(tmp_path)
    retensor(tmp_path, shortened(name))
    with pytest.raises(ArtifactError, match=f"phase {name[5]} of the distilled set: .* differ in number"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("name", ["phase1/images", "phase2/text_embeddings", "phase1/similarity/matrix"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_not_finite_are_refused(make, tmp_path, name, value):
    make().save(tmp_path)
    retensor(tmp_path, lambda tensors: tensors[name].view(-1)[1:2].fill_(value))
    with pytest.raises(ArtifactError, match=f"phase {name[5]} of the distilled set: .* not finite"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("name", ["phase1/images", "phase2/text_embeddings"])
def test_tensors_of_another_shape_or_type(make, tmp_path, name):
    make().save(tmp_path)
    retensor(tmp_path, lambda tensors: tensors.update({name: tensors[name][..., None]}))
    with pytest.raises(ArtifactError, match=f"phase {name[5]} of the distilled set: .* must be"):
        DistilledSet.load(tmp_path)
    retensor(tmp_path, lambda tensors: tensors.update({name: tensors[name][..., 0].to(torch.int64)}))
    with pytest.raises(ArtifactError, match=f"phase {name[5]} of the distilled set: .* must be"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1e308])
def test_rates_that_no_student_can_train_with(make, tmp_path, rate):
    make().save(tmp_path)
    rewrite(tmp_path, lambda content: content["phases"][0].update(inner_lr_text=rate))
    if rate > 0:
        assert DistilledSet.load(tmp_path).phases[0].inner_lr_text == rate
    else:
        with pytest.raises(ArtifactError, match="phase 1 of the distilled set: .* rates"):
            DistilledSet.load(tmp_path)


def test_a_caption_that_changed_is_found(make, tmp_path):
    make().save(tmp_path)
    path = tmp_path / "distilled.json"
    path.write_text(path.read_text(encoding="utf-8").replace("caption 1 2 mit", "caption 1 2 met"), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"distilled\.json is damaged, or was changed after it was written"):
        DistilledSet.load(tmp_path)


def test_a_set_from_before_manifests_had_checksums_is_read(make, tmp_path):
    make().save(tmp_path)
    content = manifest_of(tmp_path)
    del content["sha256"]
    (tmp_path / "distilled.json").write_text(json.dumps(content), encoding="utf-8")
    assert DistilledSet.load(tmp_path).num_pairs == 7


def test_captions_of_another_number_of_pairs(make, tmp_path):
    make().save(tmp_path)
    rewrite(tmp_path, lambda content: content["phases"][0]["pairs"].pop())
    with pytest.raises(ArtifactError, match="phase 1 of the distilled set: .* differ in number"):
        DistilledSet.load(tmp_path)


# as a dataset


def test_the_dataset_goes_through_all_pairs_of_all_phases(make):
    distilled = make()
    pairs = distilled.dataset()
    assert len(pairs) == 7
    assert [(item["phase"], item["index"]) for item in pairs] == [(1, i) for i in range(4)] + [(2, i) for i in range(3)]
    item = pairs[5]
    second = distilled.phases[1]
    assert torch.equal(item["image"], second.images[1]) and item["caption"] == "caption 1 1 mit Straße"
    assert torch.equal(item["text_embedding"], second.text_embeddings[1])
    assert torch.equal(pairs[-1]["image"], second.images[2])
    with pytest.raises(IndexError):
        pairs[7]


def test_a_data_loader_makes_batches_of_the_dataset(make):
    batches = list(DataLoader(make().dataset(), batch_size=3))
    assert [batch["image"].shape for batch in batches] == [(3, 3, 4, 5), (3, 3, 4, 5), (1, 3, 4, 5)]
    assert torch.cat([batch["phase"] for batch in batches]).tolist() == [1, 1, 1, 1, 2, 2, 2]
    assert torch.equal(torch.cat([b["image"] for b in batches]), torch.cat([p.images for p in make().phases]))


def test_a_phase_can_be_exchanged_without_changing_the_set(make):
    distilled = make()
    shorter = replace(distilled, phases=distilled.phases[:1])
    assert (shorter.num_pairs, distilled.num_pairs) == (4, 7)


@pytest.mark.parametrize("content", ["[]", "7", "{}", '{"tensors": []}', '{"tensors": {}}'])
def test_a_manifest_that_is_none_is_named(make, tmp_path, content):
    make().save(tmp_path)
    (tmp_path / "distilled.json").write_text(content)
    for read in (DistilledSet.load, stored_pairs):
        with pytest.raises(ArtifactError, match=r"distilled\.json (is|lacks)"):
            read(tmp_path)
