from __future__ import annotations

import numpy as np
import pytest

from veriscope.errors import PairingError
from veriscope.images.conditions import holds_conditions, patch_file, pooled, read_conditions
from veriscope.images.image import Image
from veriscope.images.writing import save_image


def fill(folder, names, shape=(8, 9), axes="YX", start=0):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        values = np.arange(np.prod(shape), dtype="float32").reshape(shape) + start + 1000 * number
        save_image(folder / f"{name}.tif", Image(values, axes))


@pytest.fixture
def published(tmp_path):
    """A folder as the field publishes it: three fields at two light levels."""
    for name, start in (("GT", 0), ("condition_1", 1), ("condition_2", 2)):
        fill(tmp_path / name, ["a", "b", "c"], start=start)
    return tmp_path


def test_each_condition_is_paired_with_the_truths_of_the_same_name(published):
    found = read_conditions(published)
    assert {name: pairs.names for name, pairs in found.items()} == {
        "condition_1": ["condition_1/a", "condition_1/b", "condition_1/c"],
        "condition_2": ["condition_2/a", "condition_2/b", "condition_2/c"],
    }
    for name, more in (("condition_1", 1), ("condition_2", 2)):
        assert [pair.low.read(0, 0) - pair.high.read(0, 0) for pair in found[name]] == [more] * 3


def test_all_conditions_of_a_field_stay_on_one_side_of_a_split(published):
    everything = pooled(read_conditions(published))
    for seed in range(20):
        parts = everything.split(check=0.3, test=0.3, seed=seed)
        assert [sorted({pair.name.split("/")[0] for pair in part}) for part in parts] == [
            ["condition_1", "condition_2"]
        ] * 3
        fields = [{pair.name.split("/")[1] for pair in part} for part in parts]
        assert set.union(*fields) == {"a", "b", "c"}
        assert sum(len(part) for part in fields) == 3


def test_labels_notes_hidden_folders_and_folders_without_images_are_no_conditions(published):
    fill(published / "labels", ["a"])
    fill(published / ".cache", ["a"])
    (published / "notes").mkdir()
    (published / "parameters.json").write_text("{}")
    assert list(read_conditions(published)) == ["condition_1", "condition_2"]


def test_a_folder_without_truths_is_refused_with_what_it_holds(tmp_path):
    fill(tmp_path / "condition_1", ["a"])
    assert not holds_conditions(tmp_path)
    with pytest.raises(PairingError, match=r"folder GT with the ground truth .* holds condition_1\. Arrange"):
        read_conditions(tmp_path)
    with pytest.raises(PairingError, match="holds nothing"):
        read_conditions(tmp_path / "nowhere")


def test_a_truth_without_its_low_image_is_named(published):
    (published / "condition_2" / "b.tif").unlink()
    with pytest.raises(PairingError, match=r"1 of 3 in '.*GT' has no partner in '.*condition_2': b\.tif"):
        read_conditions(published)


def test_the_file_of_patches_is_found_in_the_training_folder(tmp_path):
    assert patch_file(tmp_path) is None
    (tmp_path / "train_data").mkdir()
    (tmp_path / "train_data" / "data_label.npz").touch()
    assert patch_file(tmp_path) == tmp_path / "train_data" / "data_label.npz"
    (tmp_path / "train_data" / "other.npz").touch()
    with pytest.raises(PairingError, match=r"several files of patches: data_label\.npz, other\.npz"):
        patch_file(tmp_path)
