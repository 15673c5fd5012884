"""Bundles: which files count, their digest, and the archive."""

import gzip
import hashlib
import io
import json
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapters import policy_bundle
from verismo.adapters.policy_bundle import (
    BundleFile,
    bundle_archive,
    bundle_digest,
    read_bundle,
)
from verismo.model.errors import StateError

POLICY = BundleFile("a.rego", b"package verismo.gateway\n")
DATA = BundleFile("verismo/data.json", b'{"x": 1}')
TEST = BundleFile("a_test.rego", b"package verismo.gateway_test\n")


def test_files_that_count_are_read_in_order_and_others_are_not(tmp_path):
    wanted = ["sub/b.rego", "a.rego", "a_test.rego", "data.json", "sub/data.json", ".manifest"]
    others = [
        "README.md",
        "sub/.manifest",
        ".hidden.rego",
        "..2026/a.rego",
        "x.json",
        "sub/xdata.json",
    ]
    for name in wanted + others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert [file.path for file in read_bundle(tmp_path)] == sorted(wanted)


def test_digest_is_the_documented_one():
    expected = hashlib.sha256()
    for path, content in [(b"a.rego", POLICY.content), (b"verismo/data.json", DATA.content)]:
        expected.update(len(path).to_bytes(4, "big") + path)
        expected.update(len(content).to_bytes(8, "big") + content)
    assert bundle_digest([DATA, TEST, POLICY]) == expected.hexdigest()


def test_digest_of_nothing_is_that_of_no_bytes():
    assert bundle_digest([TEST]) == hashlib.sha256().hexdigest()


files = st.lists(
    st.builds(
        BundleFile,
        path=st.sampled_from(["a.rego", "ab.rego", "data.json", "x/data.json", ".manifest"]),
        content=st.binary(max_size=4),
    ),
    unique_by=lambda file: file.path,
    max_size=4,
)


@given(one=files, two=files)
def test_digests_are_equal_only_for_equal_bundles(one, two):
    same = {(file.path, file.content) for file in one} == {
        (file.path, file.content) for file in two
    }
    assert (bundle_digest(one) == bundle_digest(two)) is same
    assert bundle_digest(one) == bundle_digest(one[::-1])


def test_moving_bytes_between_path_and_content_changes_the_digest():
    assert bundle_digest([BundleFile("a.rego", b"b")]) != bundle_digest(
        [BundleFile("ab.rego", b"")]
    )


def test_data_is_mounted_where_its_folder_says():
    nested = BundleFile('verismo/a "b"/data.json', b'{"x": [1]}')
    assert json.loads(nested.mounted()) == {"verismo": {'a "b"': {"x": [1]}}}


def test_archive_is_a_standard_bundle_with_the_same_bytes_each_time():
    packed = bundle_archive([DATA, TEST, POLICY])
    assert packed == bundle_archive([POLICY, DATA])
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        members = {member.name: member for member in archive}
        manifest = json.load(archive.extractfile("/.manifest"))
        content = archive.extractfile("/a.rego").read()
    assert sorted(members) == ["/.manifest", "/a.rego", "/verismo/data.json"]
    assert {(member.mtime, member.uid, member.mode) for member in members.values()} == {
        (0, 0, 0o644)
    }
    assert manifest == {
        "revision": bundle_digest([POLICY, DATA]),
        "roots": ["verismo"],
        "rego_version": 1,
    }
    assert content == POLICY.content


@pytest.mark.parametrize("limit", ["BUNDLE_FILES_MAX", "BUNDLE_BYTES_MAX"])
def test_a_folder_with_too_much_in_it_is_refused(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(policy_bundle, limit, 1)
    for name in ("a.rego", "b.rego"):
        (tmp_path / name).write_text("package verismo.x\n")
    with pytest.raises(StateError, match="holds more than"):
        read_bundle(tmp_path)


def test_archive_holds_paths_of_any_length():
    deep = BundleFile("/".join(["verismo", *["folder"] * 60, "data.json"]), b"{}")
    with tarfile.open(fileobj=io.BytesIO(bundle_archive([deep]))) as archive:
        assert f"/{deep.path}" in archive.getnames()


@pytest.mark.parametrize("name", [b"\xff.rego", b"a\n.rego"])
def test_name_that_cannot_be_printed_is_refused(tmp_path, name):
    (tmp_path / os.fsdecode(name)).write_text("package verismo.x\n")
    with pytest.raises(StateError, match="cannot be printed"):
        read_bundle(tmp_path)


def test_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "a.rego").symlink_to(tmp_path / "gone")
    with pytest.raises(StateError, match="cannot read"):
        read_bundle(tmp_path)
