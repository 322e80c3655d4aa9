import json

import pytest

from tfrec.serving import manifest


def test_an_untouched_version_is_verified(exported):
    assert manifest.verify(exported)["format"] == manifest.FORMAT


@pytest.mark.parametrize("name", ["assets/item_ids.txt", "variables/variables.index", "assets.extra/items.parquet"])
def test_a_changed_or_missing_file_is_named(copied, name):
    path = copied / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{name} differs"):
        manifest.verify(copied)
    path.unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        manifest.verify(copied)


def test_a_folder_that_is_no_saved_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a SavedModel: it has no saved_model.pb"):
        manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "tfrec did not export"), ("{", "is damaged"), ('{"format": 99}', "another version")]
)
def test_a_manifest_that_is_none_is_refused(copied, text, message):
    path = copied / manifest.MANIFEST
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=message):
        manifest.read(copied)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda found: found.pop("self_check"), "self_check is missing or no such value"),
        (lambda found: found["self_check"].update(tolerance=None), "self_check.tolerance is missing"),
        (lambda found: found["self_check"].update(recall_floor="x"), "self_check.tolerance is missing"),
        (lambda found: found.update(files=[]), "files is missing or no such value"),
        (lambda found: found.update(k_max="7", inputs=None), "k_max, inputs are missing or no such value"),
        (lambda found: found.update(files={}), "was changed after its export: .* was not in it"),
        (lambda found: found["files"].update({"saved_model.pb": 7}), "saved_model.pb differs"),
    ],
)
def test_a_manifest_that_lacks_something_is_damaged(copied, damage, told):
    path = copied / manifest.MANIFEST
    found = json.loads(path.read_text())
    damage(found)
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=told):
        manifest.verify(copied)


def test_a_file_that_was_not_exported_is_named(copied):
    (copied / "assets" / "more.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match="assets/more.bin was not in it; remove it"):
        manifest.verify(copied)
