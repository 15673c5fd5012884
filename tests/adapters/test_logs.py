"""Structured logs: one JSON object a line, every fact in it, and no content or secret ever."""

import asyncio
import gc
import io
import json
import logging

import pytest

from verismo.adapters.logs import FOREIGN_CHARACTERS_MAX, JsonFormatter, set_up_logs
from verismo.config.schema import Secret
from verismo.model.errors import StateError

SECRET = "sk-live-4f9a-prompt-and-credential"


@pytest.fixture
def stream():
    """Logs set up into a text stream, and the logging of the process restored afterwards."""
    names = (None, "uvicorn", "uvicorn.error", "uvicorn.access", "httpx2", "asyncio", "httpx")
    loggers = [logging.getLogger(name) for name in (*names, "httpcore", "httpcore2", "alembic")]
    kept = [(x, x.handlers[:], x.level, x.propagate, x.disabled) for x in loggers]
    stream = io.StringIO()
    set_up_logs("info", "s0", stream)
    yield stream
    for logger, handlers, level, propagate, disabled in kept:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestLines:
    def test_a_record_is_one_object_with_its_fields(self, stream):
        facts = {"prov_id": "p1", "status": 200, "ratio": 0.5, "ok": True, "none": None}
        logging.getLogger("verismo.gateway").info("request", extra={"fields": facts})
        [line] = lines(stream)
        moment = line.pop("time")
        assert moment.endswith("Z")
        assert len(moment) == len("2027-01-15T08:00:00.000Z")
        assert line == {
            "level": "info",
            "logger": "verismo.gateway",
            "message": "request",
            "worker": "s0",
            **facts,
        }

    def test_the_time_is_that_of_the_record(self):
        record = logging.LogRecord("verismo", logging.INFO, "", 0, "m", (), None)
        record.created = 1_800_000_000.25
        assert json.loads(JsonFormatter().format(record))["time"] == "2027-01-15T08:00:00.250Z"

    def test_a_field_cannot_replace_what_every_line_has(self, stream):
        facts = {"level": "debug", "logger": "x", "message": "x", "time": "x", "worker": "s9"}
        logging.getLogger("verismo").error("real", extra={"fields": facts})
        [line] = lines(stream)
        assert (line["level"], line["message"], line["worker"]) == ("error", "real", "s0")

    @pytest.mark.parametrize("text", ["a\nb", "\u2028", "\x1b[31m", "\ud800", '"}{"level":"x"'])
    def test_no_text_can_forge_a_line(self, stream, text):
        logging.getLogger("verismo").warning("%s", text, extra={"fields": {"name": text}})
        assert stream.getvalue().count("\n") == 1
        assert stream.getvalue().isascii()
        assert "\x1b" not in stream.getvalue()
        [line] = lines(stream)
        assert line["name"] == line["message"] == text

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"x", {"a": 1}, [1]])
    def test_any_value_makes_a_line(self, stream, value):
        logging.getLogger("verismo").info("m", extra={"fields": {"value": value}})
        assert lines(stream)[0]["value"] == str(value)

    def test_fields_that_are_no_mapping_are_left_out(self, stream):
        logging.getLogger("verismo").info("m", extra={"fields": 5})
        assert lines(stream)[0]["message"] == "m"

    def test_arguments_that_do_not_fit_lose_no_record(self):
        record = logging.LogRecord("verismo", logging.INFO, "", 0, "%d of %d", ("x",), None)
        assert json.loads(JsonFormatter().format(record))["message"] == "%d of %d"

    def test_the_level_is_the_configured_one(self, stream):
        logging.getLogger("verismo").debug("hidden")
        assert lines(stream) == []

    def test_without_a_worker_there_is_no_such_field(self, stream):
        set_up_logs("debug", "", stream)
        logging.getLogger("verismo").debug("seen")
        assert "worker" not in lines(stream)[0]


class TestNoContent:
    def test_an_exception_shows_types_and_places_but_not_its_words(self, stream):
        def fail():
            try:
                raise ValueError(SECRET)
            except ValueError as error:
                raise StateError(SECRET) from error

        try:
            fail()
        except StateError:
            logging.getLogger("verismo.gateway").exception("internal error")
        [line] = lines(stream)
        assert line["error"] == ["verismo.model.errors.StateError", "builtins.ValueError"]
        assert line["stack"][-1].endswith(" fail")
        assert SECRET not in stream.getvalue()

    def test_a_circle_of_causes_ends(self, stream):
        first, second = ValueError("a"), ValueError("b")
        first.__cause__, second.__cause__ = second, first
        logging.getLogger("verismo").error("m", exc_info=first)
        assert 2 <= len(lines(stream)[0]["error"]) <= 8

    def test_a_secret_among_the_fields_is_masked(self, stream):
        logging.getLogger("verismo").info("m", extra={"fields": {"key": Secret(SECRET)}})
        assert SECRET not in stream.getvalue()

    async def test_a_task_that_nobody_awaited_does_not_quote_its_exception(self, stream):
        async def fail():
            raise ValueError(SECRET)

        task = asyncio.get_running_loop().create_task(fail())
        await asyncio.wait([task])
        del task
        gc.collect()
        [line] = lines(stream)
        assert line["logger"] == "asyncio"
        assert line["message"] == "Task exception was never retrieved"
        assert SECRET not in stream.getvalue()

    def test_a_foreign_message_is_cut(self, stream):
        logging.getLogger("somebody").error("x" * 10_000)
        assert len(lines(stream)[0]["message"]) == FOREIGN_CHARACTERS_MAX

    @pytest.mark.parametrize("name", ["httpx2", "httpcore2", "uvicorn.error", "asyncio", "alembic"])
    def test_foreign_chatter_is_quiet_but_its_warnings_are_not(self, stream, name):
        logger = logging.getLogger(name)
        logger.addHandler(logging.StreamHandler(io.StringIO()))
        set_up_logs("debug", "s0", stream)
        logger.info("HTTP Request: POST https://provider/v1?key=%s", SECRET)
        logger.warning("odd")
        assert [line["message"] for line in lines(stream)] == ["odd"]

    def test_the_access_log_is_silent(self, stream):
        logging.getLogger("uvicorn.access").error("GET /v1/prov/secret")
        assert lines(stream) == []


def test_setting_up_again_does_not_double_lines(stream):
    set_up_logs("info", "s0", stream)
    logging.getLogger("verismo").info("once")
    assert len(lines(stream)) == 1
