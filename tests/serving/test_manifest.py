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
