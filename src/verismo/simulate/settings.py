"""What a simulated upstream is told: its seed, its speed and how often it fails."""

import msgspec

from verismo.model.errors import OperatorError

PPM = 1_000_000


class SimulatorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one simulated upstream; the defaults answer at once and never fail.

    Args:
        seed: with the request's bytes it decides the answer, and it seeds the faults' generator.
        models: the model names it serves; any other is a 404. Empty serves every name.
        api_key: if set, the credential that a call must carry; never shown.
        answer_tokens: length of a chat answer, tokens; 0 draws 16 to 48 from the request's digest.
        embedding_dimensions: length of a vector where the request does not say.
        latency_ms_p50: median time before an answer, milliseconds; 0 answers at once.
        latency_ms_p99: 99th percentile of the lognormal latency; 0 means equal to the median.
        interval_ms: time between the events of a stream, milliseconds.
        error_ppm: share of calls answered 500, 429 or 503 (evenly), millionths.
        stall_ppm: share of calls never answered.
        cut_ppm: share of calls whose connection closes in the middle of the answer.
        garbage_ppm: share of calls answered with 200 and broken JSON.
        huge_ppm: share of calls answered with `huge_bytes` octets.
        huge_bytes: size of a huge answer, octets.
        keep_requests: how many of the last requests are kept whole for inspection; 0 keeps none.
        request_bytes_max: a larger body is a 413, octets.
    """

    seed: int = 1
    models: tuple[str, ...] = ()
    api_key: str = ""
    answer_tokens: int = 0
    embedding_dimensions: int = 256
    latency_ms_p50: float = 0.0
    latency_ms_p99: float = 0.0
    interval_ms: int = 0
    error_ppm: int = 0
    stall_ppm: int = 0
    cut_ppm: int = 0
    garbage_ppm: int = 0
    huge_ppm: int = 0
    huge_bytes: int = 67_108_864
    keep_requests: int = 0
    request_bytes_max: int = 67_108_864

    def __post_init__(self) -> None:
        """Refuse settings that contradict themselves.

        Raises:
            OperatorError: names the setting.
        """
        shares = self.error_ppm, self.stall_ppm, self.cut_ppm, self.garbage_ppm, self.huge_ppm
        if min(shares) < 0 or sum(shares) > PPM:
            raise OperatorError(
                "the shares of faults must be 0 or more and together at most 1,000,000 ppm",
                next_step="Lower one of --error-ppm, --stall-ppm, --cut-ppm, --garbage-ppm.",
            )
        if self.latency_ms_p50 < 0 or 0 < self.latency_ms_p99 < self.latency_ms_p50:
            raise OperatorError(
                "the latency's 99th percentile must not be below its median",
                next_step="Raise --latency-ms-p99 or leave it out.",
            )
        if self.latency_ms_p99 > 0 and self.latency_ms_p50 == 0:
            raise OperatorError(
                "a latency distribution needs a median above 0",
                next_step="Give --latency-ms-p50 too.",
            )
        counts = (
            self.answer_tokens,
            self.interval_ms,
            self.keep_requests,
            self.embedding_dimensions - 1,
            self.huge_bytes - 1,
            self.request_bytes_max - 1,
        )
        if min(counts) < 0:
            raise OperatorError(
                "a size, count or time of the simulator is below its least value",
                next_step="Use whole numbers: 0 or more, sizes and dimensions 1 or more.",
            )

    def __repr__(self) -> str:
        return f"SimulatorSettings(seed={self.seed}, models={self.models!r}, api_key=***)"
