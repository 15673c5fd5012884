"""`verismo ledger rollup`, `archive`, `restore`: as an operator runs them, on real files."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner
from tests.support import objectstore
from tests.support.archived import DAY_MS, TWO, Gateway, at

from verismo.attest import rollup
from verismo.cli.main import cli
from verismo.model.errors import OperatorError, StateError

pytestmark = pytest.mark.slow
MORNING = at("2026-03-01 09:00")
MAIN = """\
data = "var"
issuer = "https://gateway.example"

[policy]
bundle = "policy"

[archive]
{archive}
[tenants.TENANT_001]
region = "eu"
purposes = ["support"]
"""


@pytest.fixture
async def folder(tmp_path):
    root = tmp_path / "gateway"
    gateway = Gateway(root / "var", MORNING)
    await gateway.serve(3, MORNING)
    await gateway.serve(1, MORNING + 10, tenant=TWO)
    await gateway.serve(2, MORNING + 20, region="us")
    gateway.integrate(MORNING + 10_000)
    await gateway.serve(4, MORNING + DAY_MS)
    gateway.integrate(MORNING + DAY_MS + 10_000)
    gateway.close()
    (root / "policy").mkdir()
    (root / "policy" / "rules.rego").write_text("package verismo\n")
    configure(root, "")
    return root


def configure(root, archive: str) -> None:
    (root / "verismo.toml").write_text(MAIN.format(archive=archive))


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def roll_up(folder, which="2026-03-02", *more):
    return run("ledger", "rollup", "-c", folder / "verismo.toml", "--day", which, *more)


async def test_rollup_of_a_day_makes_those_before_it_as_well(folder):
    shown = roll_up(folder)
    assert "gateway.example/log/eu/2026" in shown
    assert shown.count("2026-03-01") == 2
    assert shown.count("2026-03-02") == 2
    path = folder / "var" / "rollups" / "eu" / "2026" / "2026-03-02" / "rollup.dsse.json"
    told = rollup.read_rollup(path.read_bytes()).predicate
    assert told.answers == {"allow 2xx": 4}
    before = path.read_bytes()
    roll_up(folder)
    assert path.read_bytes() == before


async def test_rollup_of_one_region_leaves_the_others_alone(folder):
    roll_up(folder, "2026-03-01", "--region", "us")
    assert not (folder / "var" / "rollups" / "eu").exists()
    with pytest.raises(OperatorError, match="no log of region ap"):
        roll_up(folder, "2026-03-01", "--region", "ap")


async def test_days_that_were_made_are_shown_before_the_one_that_failed(folder):
    [path] = (folder / "var" / "journal").glob("*.db")
    with closing(sqlite3.connect(path)) as journal, journal:
        journal.execute("DROP TRIGGER record_never_changes")
        journal.execute("UPDATE record SET statement = x'7b7d' WHERE seq_n = 8")
    arguments = ["ledger", "rollup", "-c", str(folder / "verismo.toml"), "--day", "2026-03-02"]
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, OperatorError)
    rows = [line.split()[:2] for line in result.output.splitlines()[1:]]
    assert rows == [
        ["gateway.example/log/eu/2026", "2026-03-01"],
        ["gateway.example/log/us/2026", "2026-03-01"],
        ["gateway.example/log/us/2026", "2026-03-02"],
    ]


async def test_day_to_come_is_refused(folder):
    with pytest.raises(StateError, match="not over"):
        roll_up(folder, "2199-01-01", "--region", "eu")


async def test_folder_says_that_it_is_no_worm_store(folder):
    roll_up(folder)
    shown = run("ledger", "archive", "-c", folder / "verismo.toml")
    assert "a folder is no WORM store" in shown
    assert "2033-03-10 00:00Z" in shown
    assert "COMPLIANCE" in shown
    again = run("ledger", "archive", "-c", folder / "verismo.toml")
    assert "nothing to do" in again


async def test_archive_that_is_off_is_named(folder):
    configure(folder, 'kind = "off"\n')
    with pytest.raises(OperatorError, match="kind is off"):
        run("ledger", "archive", "-c", folder / "verismo.toml")


async def test_changed_archive_without_the_days_before_is_told_and_gets_nothing(folder):
    roll_up(folder)
    run("ledger", "archive", "-c", folder / "verismo.toml")
    configure(folder, 'folder = "elsewhere"\n')
    with pytest.raises(StateError, match="up to 2026-03-02 lie in a folder") as refused:
        run("ledger", "archive", "-c", folder / "verismo.toml")
    assert "copy all of it" in refused.value.advice
    assert not (folder / "elsewhere").exists()
    (folder / "var" / "archive").rename(folder / "elsewhere")
    assert "nothing to do" in run("ledger", "archive", "-c", folder / "verismo.toml")


async def test_logs_that_can_be_archived_are_before_one_is_refused(folder):
    roll_up(folder, "2026-03-01", "--region", "eu")
    run("ledger", "archive", "-c", folder / "verismo.toml")
    roll_up(folder)
    configure(folder, 'folder = "elsewhere"\n')
    arguments = ["ledger", "archive", "-c", str(folder / "verismo.toml")]
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, StateError)
    assert "log/eu/2026" in result.exception.detail
    assert "log/us/2026/2026/03/02/manifest.json" in result.output
    assert "nothing to do" not in result.output


def restore(folder, source, *more):
    return run("ledger", "restore", "--from", source, "--data", folder / "restored", *more)


async def test_restore_reads_the_archive_with_and_without_keys(folder):
    roll_up(folder)
    run("ledger", "archive", "-c", folder / "verismo.toml")
    shown = restore(folder, folder / "var" / "archive", "--keys", folder / "var")
    assert "gateway.example/log/us/2026" in shown
    assert "stay sealed" not in shown
    assert "key ring version" in shown
    with pytest.raises(StateError, match="not empty"):
        restore(folder, folder / "var" / "archive")
    bare = run("ledger", "restore", "--from", folder / "var" / "archive", "--data", folder / "bare")
    assert "stay sealed" in bare


async def test_altered_archive_is_told_to_the_operator_with_a_next_step(folder):
    roll_up(folder)
    run("ledger", "archive", "-c", folder / "verismo.toml")
    objects = folder / "var" / "archive" / "objects"
    [path, *_] = sorted(objects.rglob("tiles-*"))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OperatorError, match="not what was stored") as refused:
        restore(folder, folder / "var" / "archive")
    assert "archive-failing" in refused.value.advice
    # Nothing is left that would make the next try fail.
    assert not [path.name for path in folder.iterdir() if "restored" in path.name]


async def test_archive_that_lacks_a_log_and_a_day_is_restored_and_told(folder):
    roll_up(folder)
    run("ledger", "archive", "-c", folder / "verismo.toml")
    objects = folder / "var" / "archive" / "objects" / "attest" / "v1" / "gateway.example" / "log"
    shutil.rmtree(objects / "us")
    (objects / "eu" / "2026" / "2026" / "03" / "02" / "manifest.json").unlink()
    where = ("--from", folder / "var" / "archive", "--data", folder / "restored")
    result = CliRunner().invoke(cli, ["ledger", "restore", *map(str, where)])
    assert result.exit_code == 1
    assert "gateway.example/log/eu/2026  1" in result.output
    assert "left out, its manifest is gone or its upload did not end: attest" in result.output
    assert "not in the archive: gateway.example/log/us/2026 is missing" in result.output
    assert "archive-failing" in result.output
    assert (folder / "restored" / "log" / "eu" / "2026" / "checkpoint").exists()


@pytest.mark.parametrize("source", ["s3://", "nowhere"])
async def test_place_that_is_no_archive_is_named(folder, source):
    with pytest.raises(OperatorError, match="is not an archive"):
        restore(folder, source)


async def test_keys_folder_without_a_key_is_named(folder):
    roll_up(folder)
    run("ledger", "archive", "-c", folder / "verismo.toml")
    with pytest.raises(OperatorError, match="no tenant's data key"):
        restore(folder, folder / "var" / "archive", "--keys", folder / "policy")


@objectstore.needed
async def test_bucket_with_object_lock_takes_a_day_and_gives_it_back(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", objectstore.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", objectstore.SECRET_KEY)
    (tmp_path / "store").mkdir()
    with objectstore.object_store(tmp_path / "store") as endpoint:
        client = objectstore.s3_client(endpoint)
        client.create_bucket(Bucket="seven-years", ObjectLockEnabledForBucket=True)
        configure(
            folder,
            f'kind = "s3"\nbucket = "seven-years"\nregion = "{objectstore.REGION}"\n'
            f'endpoint = "{endpoint}"\nprefix = "staging"\nmode = "GOVERNANCE"\n'
            "governance_days = 3000\n",
        )
        roll_up(folder)
        shown = run("ledger", "archive", "-c", folder / "verismo.toml")
        assert "GOVERNANCE" in shown
        assert "no WORM" not in shown
        given = ("--s3-endpoint", endpoint, "--s3-region", objectstore.REGION)
        found = restore(folder, "s3://seven-years/staging", *given)
        assert "gateway.example/log/eu/2026" in found
