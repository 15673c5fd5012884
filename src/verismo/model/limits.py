"""Every limit of the request path, with its default and why it is that."""

import msgspec


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Named limits; all may be set under `[limits]` in verismo.toml.

    Args:
        request_bytes_max: body of a request. 32 MiB holds an image-heavy multimodal prompt.
        header_bytes_max: all headers of a request together.
        response_bytes_max: body of an upstream's answer, and of all events of a stream together.
        mcp_result_bytes_max: whole answer of an MCP server. 1 MiB is the largest event that MCP
            clients take, and more than a model reads with profit; an answer that comes within an
            event stream has at most that in any case.
        in_flight_max: requests being worked on in one worker; more get a 503 `overloaded`.
        request_ms_max: until the whole request body is here; slow clients are cut off.
        stream_idle_ms_max: longest silence of an upstream within a stream.
        client_stall_ms_max: how long a client may not read while we have something to send.
        run_idle_ms_max: how long an agent's run may be silent before it is forgotten; set it above
            the longest answer of an agent, and the longest pause of one that waits for people.
        verify_per_s_max: calls of the public verification API, for each worker.
        drain_ms_max: after SIGTERM, how long answers in flight may take to end.
    """

    request_bytes_max: int = 33_554_432
    header_bytes_max: int = 65_536
    response_bytes_max: int = 33_554_432
    mcp_result_bytes_max: int = 1_048_576
    in_flight_max: int = 1_024
    request_ms_max: int = 60_000
    stream_idle_ms_max: int = 60_000
    client_stall_ms_max: int = 60_000
    run_idle_ms_max: int = 3_600_000
    verify_per_s_max: int = 1_000
    drain_ms_max: int = 30_000
