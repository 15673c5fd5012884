"""The policy file: the specification's example, quorums, and what no policy may hold."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tilelog import NoteKey, TileLog, witness_key

from verismo.attest.note import Note, NoteRefused, NoteSignature, vkey
from verismo.attest.witnesspolicy import (
    GROUPS_MAX,
    LOGS_MAX,
    POLICY_BYTES_MAX,
    WITNESSES_MAX,
    CosignedBy,
    PolicyGroup,
    PolicyRefused,
    read_policy,
)

NAMES = ("X1", "X2", "X3", "Y1", "Y2", "Y3")
KEYS = {name: witness_key(f"witness.example/{name}") for name in NAMES}
LOG = TileLog()
LOG.grow(3)
WITNESSES = "".join(f"witness {name} {key.key.vkey}\n" for name, key in KEYS.items())
EXAMPLE = (
    f"# two organisations\n\nlog {LOG.log.key.vkey}\n\n{WITNESSES}"
    "group X-witnesses 2 X1 X2 X3\n  group\tY-witnesses any Y1 Y2 Y3 \n"
    "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
)
POLICY = read_policy(EXAMPLE.encode())
ALICE = f"witness alice {KEYS['X1'].key.vkey}\n"
BOB = f"witness bob {KEYS['X2'].key.vkey}\n"


def checkpoint(**seen_s):
    return LOG.checkpoint({KEYS[name]: at_s for name, at_s in seen_s.items()})


def test_the_example_of_the_specification_is_read():
    assert [one.name for one in POLICY.witnesses] == list(NAMES)
    assert [one.key for one in POLICY.logs] == [LOG.log.key]
    assert POLICY.groups == (
        PolicyGroup("X-witnesses", 2, ("X1", "X2", "X3")),
        PolicyGroup("Y-witnesses", 1, ("Y1", "Y2", "Y3")),
        PolicyGroup("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
    )
    assert POLICY.quorum == "X-and-Y"


def test_the_example_s_quorum_is_two_of_x_and_one_of_y():
    for count in range(len(NAMES) + 1):
        for names in map(frozenset, itertools.combinations(NAMES, count)):
            of_x, of_y = (sum(name[0] == letter for name in names) for letter in "XY")
            assert POLICY.is_quorum(names) == (of_x >= 2 and of_y >= 1)


@settings(max_examples=40, deadline=None)
@given(st.frozensets(st.sampled_from(NAMES)), st.sampled_from(NAMES))
def test_a_further_witness_never_breaks_a_quorum(names, further):
    assert POLICY.is_quorum(names | {further}) >= POLICY.is_quorum(names)


def test_a_name_that_is_no_witness_counts_for_nothing():
    assert not POLICY.is_quorum(frozenset({"X-and-Y", "X-witnesses", "Y-witnesses", "none"}))


def test_who_cosigned_and_when_is_said_in_the_order_of_the_policy():
    assert POLICY.quorum_met(checkpoint(Y2=300, X3=100, X1=200)) == CosignedBy(
        met=True, names=("X1", "X3", "Y2"), timestamps_s=(200, 100, 300), quorum_at_s=300
    )
    assert POLICY.quorum_met(checkpoint(X1=5)) == CosignedBy(
        met=False, names=("X1",), timestamps_s=(5,), quorum_at_s=None
    )


def test_the_quorum_s_time_is_when_enough_had_seen_it():
    """A later cosignature of one more witness does not make the checkpoint younger."""
    assert POLICY.quorum_met(checkpoint(X1=100, X2=200, Y1=50, X3=900, Y2=800)).quorum_at_s == 200


def test_of_two_cosignatures_of_one_witness_the_earlier_counts():
    note = checkpoint(X1=200)
    again = note.adding((KEYS["X1"].cosignature(note.text, 100),))
    assert POLICY.quorum_met(again).timestamps_s == (100,)


def test_one_witness_twice_is_not_two():
    note = checkpoint(X1=100, Y1=100)
    again = note.adding((KEYS["X1"].cosignature(note.text, 200),))
    assert not POLICY.quorum_met(again).met


def test_a_wrong_cosignature_of_a_known_witness_refuses_the_checkpoint():
    key = KEYS["X3"].key
    bad = NoteSignature(key.name, key.key_hash, bytes(72))
    with pytest.raises(NoteRefused, match="is not of this key over this text"):
        POLICY.quorum_met(checkpoint(X1=1, X2=1, Y1=1).adding((bad,)))


def test_cosignatures_of_unknown_witnesses_count_for_nothing():
    note = LOG.checkpoint({witness_key("stranger"): 100})
    assert POLICY.quorum_met(note) == CosignedBy(False, (), (), None)


def test_cosignatures_of_another_checkpoint_are_refused():
    other = TileLog()
    other.grow(4)
    moved = Note(other.checkpoint().text, checkpoint(X1=1, X2=1, Y1=1).signatures)
    with pytest.raises(NoteRefused, match="is not of this key over this text"):
        POLICY.quorum_met(moved)


def test_a_policy_may_ask_for_nobody_or_for_one_witness():
    nobody = read_policy(b"quorum none\n")
    assert nobody.quorum_met(checkpoint()) == CosignedBy(True, (), (), None)
    one = read_policy(f"{ALICE}quorum alice\n".encode())
    assert one.quorum_met(checkpoint(X1=7)) == CosignedBy(True, ("alice",), (7,), 7)
    assert not one.quorum_met(checkpoint(X2=7)).met


def test_addresses_are_kept():
    policy = read_policy(
        f"log {LOG.log.key.vkey} https://log.example\n{ALICE[:-1]} https://w.example/x\n"
        "quorum alice\n".encode()
    )
    assert policy.logs[0].url == "https://log.example"
    assert policy.witnesses[0].url == "https://w.example/x"
    assert POLICY.witnesses[0].url == POLICY.logs[0].url == ""


def test_octets_beyond_ascii_are_opaque():
    """The Kelvin sign and octets that are no UTF-8 are names, and other names than K."""
    keys = [KEYS[name].key.vkey.encode() for name in NAMES]
    names = [b"K", "\u212a".encode(), b"\xff", b"\xfe"]
    lines = [b"witness " + name + b" " + key for name, key in zip(names, keys, strict=False)]
    policy = read_policy(b"# \xff\n" + b"\n".join(lines) + b"\nquorum \xff\n")
    assert len({one.name for one in policy.witnesses}) == 4
    assert policy.quorum_met(checkpoint(X3=1)).met
    assert not policy.quorum_met(checkpoint(Y1=1)).met


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the last line of the policy has no line end"),
        ("quorum none", "the last line of the policy has no line end"),
        ("# only words\n", "the policy has no quorum line"),
        ("quorum none\r\n", "a control character in the policy"),
        ("quorum none\x7f\n", "a control character in the policy"),
        ("quorum none\nquorum none\n", "line 2 of the policy: a second quorum line"),
        ("quorum\n", "line 1 of the policy: quorum with 0 words after it"),
        ("quorum none # yes\n", "line 1 of the policy: quorum with 3 words after it"),
        ("Quorum none\n", "line 1 of the policy: the unknown keyword 'Quorum'"),
        ("quorum\u00a0none\n", "line 1 of the policy: the unknown keyword"),
        ("quorum alice\n", "line 1 of the policy: no witness or group before this line is called"),
        (f"quorum alice\n{ALICE}", "line 1 of the policy: no witness or group before this line"),
        ("log x\n", "line 1 of the policy: a verifier key is name"),
        (ALICE.replace(" alice", ""), "line 1 of the policy: witness with 1 words after it"),
        (ALICE.replace("alice", "none"), "line 1 of the policy: the name 'none' is taken"),
        (ALICE + ALICE, "line 2 of the policy: the name 'alice' is taken"),
        (ALICE + ALICE.replace("alice", "b"), "line 2 of the policy: a second witness with the"),
        (ALICE.replace("witness alice", "log"), "line 1 of the policy: a key of algorithm 4; this"),
        (f"witness w {LOG.log.key.vkey}\n", "line 1 of the policy: a key of algorithm 1; this"),
        (f"log {LOG.log.key.vkey}\n" * 2, "line 2 of the policy: a second log with the same key"),
        (f"{ALICE}group g 1\n", "line 2 of the policy: group with 2 words after it"),
        (f"{ALICE}group alice 1 alice\n", "line 2 of the policy: the name 'alice' is taken"),
        (f"{ALICE}group none 1 alice\n", "line 2 of the policy: the name 'none' is taken"),
        (f"{ALICE}group g 1 none\n", "line 2 of the policy: no witness or group before this line"),
        (f"{ALICE}group g 1 g\n", "line 2 of the policy: no witness or group before this line is"),
        (f"{ALICE}group g 0 alice\n", "line 2 of the policy: a group asks for 1 to 1, any or all"),
        (f"{ALICE}group g 2 alice\n", "line 2 of the policy: a group asks for 1 to 1, any or all"),
        (f"{ALICE}group g 01 alice\n", "line 2 of the policy: a group asks for 1 to 1, any or all"),
        (f"{ALICE}group g ALL alice\n", "line 2 of the policy: a group asks for 1 to 1, any or"),
        (f"{ALICE}group g any alice alice\n", "line 2 of the policy: 'alice' is the member of a"),
        (
            f"{ALICE}{BOB}group g any alice\ngroup h any alice bob\n",
            "line 4 of the policy: 'alice' is the member of a group twice",
        ),
    ],
)
def test_what_is_no_policy_is_refused_with_its_line(text, says):
    with pytest.raises(PolicyRefused, match=rf"^{says}"):
        read_policy(text.encode())


def test_one_key_under_two_names_is_no_second_witness():
    """Else one witness could make a quorum of two."""
    twin = f"witness twin {vkey('another.name', KEYS['X1'].key.raw, 4)}\n"
    with pytest.raises(PolicyRefused, match=r"^line 2 of the policy: a second witness with the sa"):
        read_policy(f"{ALICE}{twin}quorum none\n".encode())


@pytest.mark.parametrize(
    ("word", "most"), [("log", LOGS_MAX), ("witness", WITNESSES_MAX), ("group", GROUPS_MAX)]
)
@pytest.mark.slow
def test_a_policy_has_its_limits(word, most):
    lines = {
        "log": lambda n: f"log {NoteKey(f'log{n}').key.vkey}\n",
        "witness": lambda n: f"witness w{n} {witness_key(f'witness{n}').key.vkey}\n",
        "group": lambda n: f"group g{n} any {f'g{n - 1}' if n else 'alice'}\n",
    }
    start = ALICE if word == "group" else ""
    text = start + "".join(lines[word](number) for number in range(most))
    assert read_policy(f"{text}quorum none\n".encode())
    with pytest.raises(PolicyRefused, match=rf"^line \d+ of the policy: more than {most} {word}"):
        read_policy(f"{text}{lines[word](most)}quorum none\n".encode())


def test_a_policy_that_is_too_long_is_refused():
    with pytest.raises(PolicyRefused, match=rf"^a policy of more than {POLICY_BYTES_MAX} octets$"):
        read_policy(b"#" * POLICY_BYTES_MAX + b"\n")
