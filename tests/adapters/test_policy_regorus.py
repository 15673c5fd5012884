"""The policy engine: verdicts, memo, reload, threads, and bundles that mean harm."""

import gc
import sys
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapters.policy_regorus import (
    MEMO_KEY_BYTES_MAX,
    Interpreter,
    PolicyFault,
    RegorusPolicy,
)
from verismo.model.errors import StateError
from verismo.ports.policy import Denial, PolicyInput

QUESTION = PolicyInput(
    tenant="TENANT_001",
    tenant_region="eu",
    tenant_purposes=("support",),
    tenant_models=("gpt-4o",),
    enforcement="safelist",
    operation="answer",
    operation_kind="chat",
    operation_purpose="support",
    registered=True,
    by_id=True,
    purpose="support",
    deployment="d1",
    deployment_region="eu",
    model="gpt-4o",
)

ALLOW_ONE = """package verismo.gateway
decision := {"allow": allow, "deny": deny, "obligations": ["b", "a", "b"]}
default allow := false
allow if input.tenant == "TENANT_001"
deny contains {"code": "tenant_unknown", "msg": "who?"} if not allow
"""


def decision_of(expression: str, *, when: str = 'input.tenant == "TENANT_001"') -> str:
    """A policy that passes the smoke test and answers `expression` to QUESTION."""
    return f"""package verismo.gateway
decision := {{"allow": false, "deny": [{{"code": "smoke", "msg": "m"}}], "obligations": []}} if {{
  not {when}
}}
decision := {expression} if {when}
"""


@pytest.fixture(autouse=True)
def collected_here():
    """Let engines that a caught error keeps alive be freed in their own thread."""
    yield
    gc.collect()


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "main.rego").write_text(ALLOW_ONE)
    return tmp_path


def engine_of(bundle, text: str, **options) -> RegorusPolicy:
    (bundle / "main.rego").write_text(text)
    return RegorusPolicy(bundle, **options)


def test_verdict_carries_sorted_unique_obligations_and_the_bundle(bundle):
    engine = RegorusPolicy(bundle)
    verdict = engine.decide(QUESTION)
    assert (verdict.allow, verdict.deny, verdict.obligations) == (True, (), ("a", "b"))
    assert verdict.bundle == engine.bundle
    refused = engine.decide(msgspec.structs.replace(QUESTION, tenant="x"))
    assert (refused.allow, refused.deny) == (False, (Denial("tenant_unknown", "who?"),))


@pytest.mark.parametrize(
    "expression",
    [
        "1",
        "[]",
        '"<undefined>"',
        "null",
        '{"allow": "yes", "deny": [], "obligations": []}',
        '{"allow": 1, "deny": [], "obligations": []}',
        '{"allow": true, "deny": {"code": "a"}, "obligations": []}',
        '{"allow": true, "deny": "no", "obligations": []}',
        '{"allow": true, "deny": ["no"], "obligations": []}',
        '{"allow": true, "deny": [{"code": "Bad Code", "msg": "m"}], "obligations": []}',
        '{"allow": true, "deny": [{"code": "a\\n", "msg": "m"}], "obligations": []}',
        '{"allow": true, "deny": [{"code": "a", "msg": ""}], "obligations": []}',
        '{"allow": true, "deny": [{"code": "a", "msg": 1}], "obligations": []}',
        '{"allow": true, "deny": []}',
        '{"allow": true, "obligations": []}',
        '{"deny": [], "obligations": []}',
        '{"allow": true, "deny": [], "obligations": [1]}',
        '{"allow": true, "deny": [], "obligations": [], "extra": 1}',
        '{"allow": false, "deny": [], "obligations": []}',
        "to_number(input.tenant)",
        "count(1 / (count(input.tenant_models) - 1))",
    ],
)
def test_wrong_shape_or_error_is_a_refusal(bundle, expression):
    verdict = engine_of(bundle, decision_of(expression)).decide(QUESTION)
    assert not verdict.allow
    assert [denial.code for denial in verdict.deny] == ["policy_error"]
    assert "\n" not in verdict.deny[0].msg


def test_undefined_decision_is_a_refusal(bundle):
    engine = engine_of(bundle, decision_of("input.nothing"))
    verdict = engine.decide(QUESTION)
    assert [denial.code for denial in verdict.deny] == ["policy_error"]
    assert "undefined" in verdict.deny[0].msg


def test_conflicting_decisions_are_a_refusal(bundle):
    allow = '{"allow": true, "deny": [], "obligations": []}'
    text = decision_of(allow) + (
        'decision := {"allow": true, "deny": [], "obligations": ["x"]} '
        'if input.tenant == "TENANT_001"\n'
    )
    verdict = engine_of(bundle, text).decide(QUESTION)
    assert [denial.code for denial in verdict.deny] == ["policy_error"]


def test_allow_beside_a_denial_is_a_refusal(bundle):
    text = decision_of('{"allow": true, "deny": [{"code": "a", "msg": "m"}], "obligations": []}')
    verdict = engine_of(bundle, text).decide(QUESTION)
    assert not verdict.allow
    assert verdict.deny == (Denial("a", "m"),)


def test_text_that_is_not_unicode_is_a_refusal(bundle):
    verdict = RegorusPolicy(bundle).decide(msgspec.structs.replace(QUESTION, operation="\ud800"))
    assert [denial.code for denial in verdict.deny] == ["policy_error"]


@pytest.mark.parametrize(
    ("name", "text", "detail"),
    [
        ("syntax", "package verismo.gateway\nx := )\n", "bad.rego:2"),
        ("v0 syntax", "package verismo.gateway\nallow { true }\n", "bad.rego:2"),
        ("unsafe variable", "package verismo.gateway\nx if y == 1\n", "bad.rego:2"),
        ("rules in a circle", "package verismo.gateway\nx if y\ny if x\nallow if x", "recursion"),
        ("function of itself", "package verismo.gateway\nf(a) := f(a)\n", "bad.rego:2"),
        (
            "functions in a circle",
            "package verismo.gateway\nf(a) := g(a)\ng(a) := data.verismo.gateway.f(a)\n",
            "may not reach itself",
        ),
        (
            "function of itself by replacement",
            "package verismo.gateway\ng(a) := a\nf(a) := b if b := g(a) with g as f\n",
            "bad.rego:3",
        ),
        (
            "function of itself by an import",
            "package verismo.gateway\nimport data.verismo.gateway as me\n\nf(a) := me.f(a)\n",
            "bad.rego:4",
        ),
        ("unknown builtin", "package verismo.gateway\n\nx := nope(1)\n", "bad.rego:3"),
        ("refused builtin", "package verismo.gateway\n\nx := http.send({})\n", "bad.rego:3"),
        ("deep nesting", f"package verismo.gateway\nx := {'[' * 500}{']' * 500}", "bad.rego:2"),
        ("outside the root", "package verismos\nx := 1\n", "bad.rego:1"),
        ("shared head of another kind", "package verismo.gateway\ndeny := 1\n", "main.rego:5"),
    ],
)
def test_bad_policy_is_refused_at_load_with_its_place(bundle, name, text, detail):
    (bundle / "bad.rego").write_text(text)
    with pytest.raises(StateError) as caught:
        RegorusPolicy(bundle)
    assert detail in caught.value.detail, name
    assert "Stack backtrace" not in caught.value.detail


@pytest.mark.parametrize(
    ("path", "content", "detail"),
    [
        ("data.json", b"{", "data.json:1"),
        ("data.json", b"[]", "data.json:1"),
        ("data.json", b'{"other": 1}', "outside the root"),
        ("other/data.json", b"{}", "outside the root"),
        ("verismo/data.json", b"\xff", "data.json:1"),
        ("data.yaml", b"a: 1", "must be JSON"),
        ("latin.rego", b"package verismo.gateway\n# \xe9\n", "latin.rego:1: the file is not UTF-8"),
    ],
)
def test_bad_data_is_refused_with_its_file(bundle, path, content, detail):
    (bundle / path).parent.mkdir(exist_ok=True)
    (bundle / path).write_bytes(content)
    with pytest.raises(StateError) as caught:
        RegorusPolicy(bundle)
    assert detail in caught.value.detail


def test_data_that_contradict_each_other_are_refused(bundle):
    (bundle / "data.json").write_text('{"verismo": {"a": 1}}')
    (bundle / "verismo").mkdir()
    (bundle / "verismo" / "data.json").write_text('{"a": 2}')
    with pytest.raises(StateError, match=r"data\.json:1"):
        RegorusPolicy(bundle)


@pytest.mark.parametrize(
    "text", ["", "package verismo.gateway\n", "package verismo.other\nx := 1\n"]
)
def test_policy_without_an_entry_point_is_refused(bundle, text):
    with pytest.raises(StateError):
        engine_of(bundle, text)


def test_empty_folder_and_missing_folder_are_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(StateError):
            RegorusPolicy(folder)


def test_tests_never_decide(bundle):
    (bundle / "sly_test.rego").write_text("package verismo.gateway\nallow := true\n")
    verdict = RegorusPolicy(bundle).decide(msgspec.structs.replace(QUESTION, tenant="x"))
    assert not verdict.allow


def test_known_question_is_answered_from_the_memo(bundle):
    engine = RegorusPolicy(bundle)
    same = PolicyInput(**msgspec.structs.asdict(QUESTION))
    assert engine.decide(QUESTION) is engine.decide(same)
    unmemoised = RegorusPolicy(bundle, memo_entries_max=0)
    assert unmemoised.decide(QUESTION) is not unmemoised.decide(QUESTION)


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "tenant": st.sampled_from(["TENANT_001", "TENANT_002"]),
            "tenant_purposes": st.lists(st.text(max_size=3), max_size=3).map(tuple),
            "registered": st.booleans(),
            "model": st.text(max_size=3),
        },
    )
)
def test_memo_never_changes_a_verdict(memo_pair, changes):
    with_memo, without = memo_pair
    question = msgspec.structs.replace(QUESTION, **changes)
    assert with_memo.decide(question) == without.decide(question) == with_memo.decide(question)


@pytest.fixture(scope="module")
def memo_pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    text = ALLOW_ONE.replace('"who?"', 'sprintf("%v", [input])')
    return engine_of(folder, text, memo_entries_max=3), engine_of(folder, text, memo_entries_max=0)


def test_least_recently_used_verdict_leaves_the_memo(bundle):
    engine = RegorusPolicy(bundle, memo_entries_max=2)
    one, two, three = (
        msgspec.structs.replace(QUESTION, operation=name) for name in ("one", "two", "three")
    )
    first, second = engine.decide(one), engine.decide(two)
    assert engine.decide(one) is first
    engine.decide(three)
    assert engine.decide(one) is first
    assert engine.decide(two) is not second


def test_oversized_question_does_not_fill_the_memo(bundle):
    engine = RegorusPolicy(bundle)
    long = msgspec.structs.replace(QUESTION, operation="x" * MEMO_KEY_BYTES_MAX)
    assert engine.decide(long) == engine.decide(long)
    assert engine.decide(long) is not engine.decide(long)


@pytest.mark.parametrize(
    ("line", "memoises"),
    [
        ("late if time.now_ns() > 0", False),
        ('late if rand.intn("a", 3) > 0', False),
        ('late if uuid.rfc4122("a") != ""', False),
        ("# time.now_ns() is not called here", True),
        ('late if "time.now_ns()" != input.tenant', True),
        ("late if input.time.now_ns", True),
        ("late if input.opa", True),
    ],
)
def test_policy_that_uses_time_or_chance_is_not_memoised(bundle, line, memoises):
    engine = engine_of(bundle, ALLOW_ONE + line + "\n")
    assert engine.memoises is memoises
    assert (engine.decide(QUESTION) is engine.decide(QUESTION)) is memoises


def test_reload_takes_a_good_bundle_and_forgets_old_verdicts(bundle):
    engine = RegorusPolicy(bundle)
    assert engine.decide(QUESTION).allow
    old = engine.bundle
    assert not engine.reload()
    (bundle / "main.rego").write_text(ALLOW_ONE.replace('== "TENANT_001"', '== "nobody"'))
    assert engine.reload()
    verdict = engine.decide(QUESTION)
    assert not verdict.allow
    assert verdict.bundle == engine.bundle != old


@pytest.mark.parametrize(
    "text", ["package verismo.gateway\nx := \n", "", decision_of("1", when="true")]
)
def test_bad_bundle_leaves_the_old_one_in_force(bundle, text):
    engine = RegorusPolicy(bundle)
    before = engine.decide(QUESTION)
    (bundle / "main.rego").write_text(text)
    for _ in range(2):
        with pytest.raises(StateError):
            engine.reload()
    assert engine.decide(QUESTION) == before
    assert engine.decide(msgspec.structs.replace(QUESTION, tenant="x")).deny[0].code == (
        "tenant_unknown"
    )


def test_removed_bundle_leaves_the_old_one_in_force(bundle):
    engine = RegorusPolicy(bundle)
    (bundle / "main.rego").unlink()
    with pytest.raises(StateError):
        engine.reload()
    bundle.rmdir()
    with pytest.raises(StateError):
        engine.reload()
    assert engine.decide(QUESTION).allow


def test_changed_tests_are_no_new_bundle(bundle):
    engine = RegorusPolicy(bundle)
    (bundle / "main_test.rego").write_text("package verismo.gateway_test\ntest_x if true\n")
    assert not engine.reload()


def test_engine_refuses_another_thread_and_goes_on_in_its_own(bundle):
    engine = RegorusPolicy(bundle)
    seen: list[str] = []

    def trespass() -> None:
        for call in (lambda: engine.decide(QUESTION), engine.reload):
            try:
                call()
            except RuntimeError as error:
                seen.append(str(error))

    thread = threading.Thread(target=trespass)
    thread.start()
    thread.join(timeout=10)
    assert seen == ["a policy engine belongs to the thread that opened it"] * 2
    assert engine.decide(QUESTION).allow


def test_panic_of_the_interpreter_is_a_fault_like_any_other():
    interpreter = Interpreter()
    faults: list[str] = []

    def panic() -> None:
        # The library panics when an engine is used outside its thread: the one panic at hand.
        try:
            interpreter.query("1", b"{}")
        except PolicyFault as error:
            faults.append(str(error))

    thread = threading.Thread(target=panic)
    thread.start()
    thread.join(timeout=10)
    assert faults == ["the interpreter failed"]
    assert interpreter.query("x := 1", b"{}") != "{}"


@pytest.mark.parametrize("text", ["x := nope(1)", "allow := 1 if { x := input.tenant; y := x }"])
def test_refusal_that_somebody_keeps_may_be_collected_by_any_thread(bundle, monkeypatch, text):
    """A frame of its traceback must not hold an engine, which only its own thread may free."""
    (bundle / "bad.rego").write_text(f"package verismo.gateway\n\n{text}\n")
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    kept: list[object] = []
    try:
        RegorusPolicy(bundle)
    except StateError as error:
        kept += [error, kept]
    assert kept
    del kept
    thread = threading.Thread(target=gc.collect)
    thread.start()
    thread.join()
    assert not unraisable


def test_each_thread_may_open_its_own_engine(bundle):
    verdicts = []

    def work() -> None:
        verdicts.append(RegorusPolicy(bundle).decide(QUESTION))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert [verdict.allow for verdict in verdicts] == [True] * 3
