"""`[archive]`: a folder by default, and each kind has what it needs and nothing of another."""

import pytest

from verismo.config.effective import effective
from verismo.model.errors import ConfigError


def archive_of(workspace, text):
    workspace.append("verismo.toml", f"[archive]\n{text}\n")
    return workspace.load().archive


def test_days_are_archived_into_the_data_folder_unless_told_otherwise(workspace):
    found = workspace.load().archive
    assert (found.kind, found.folder) == ("folder", workspace.root / "var" / "archive")
    assert found.mode == "COMPLIANCE"


def test_folder_starts_at_the_configuration_folder(workspace):
    assert archive_of(workspace, 'folder = "kept"').folder == workspace.root / "kept"


def test_bucket_is_taken_as_it_is_written(workspace):
    found = archive_of(
        workspace,
        'kind = "s3"\nbucket = "seven-years"\nregion = "eu-central-1"\n'
        'endpoint = "https://s3.example.com"\nprefix = "prod/one"\n'
        'mode = "GOVERNANCE"\ngovernance_days = 3',
    )
    assert (found.bucket, found.region, found.prefix) == (
        "seven-years",
        "eu-central-1",
        "prod/one",
    )
    assert (found.endpoint, found.mode, found.governance_days) == (
        "https://s3.example.com",
        "GOVERNANCE",
        3,
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('kind = "s3"', "needs bucket"),
        ('bucket = "seven-years"', "is for kind s3"),
        ('kind = "off"\nfolder = "x"', "is for kind folder"),
        ('kind = "s3"\nbucket = "seven-years"\nendpoint = "s3.example.com"', "must be a URL"),
        ('kind = "s3"\nbucket = "Seven_Years"', "lower-case letters"),
        ('kind = "s3"\nbucket = "seven-years"\nprefix = "/a/"', "with `/` between"),
        ('kind = "tape"', "is not one of"),
        ('mode = "NONE"', "is not one of"),
        ("governance_days = 0", "governance_days"),
    ],
)
def test_what_does_not_fit_is_named(workspace, text, problem):
    with pytest.raises(ConfigError) as caught:
        archive_of(workspace, text)
    assert problem in caught.value.detail
    assert "archive" in caught.value.detail


def test_archive_is_shown_with_the_rest_of_the_configuration(workspace):
    assert effective(workspace.load())["archive"]["kind"] == "folder"
