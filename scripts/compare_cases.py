"""What `scripts/compare.py` measures: providers, and how each client is set up for them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Subject:
    """A client: `config` is Tidegate's file, the rest is for the clients of `compare_clients.py`."""

    name: str
    config: str | None = None
    in_flight: int = 0
    sleep: float = 0.0
    # At most so many rounds: what takes minutes and hardly differs is not worth more.
    rounds: int = 1000


@dataclasses.dataclass(frozen=True)
class Limit:
    """A bucket: from each time on, a rate; it holds `burst`, scaled with the rate."""

    rates: tuple[tuple[float, float], ...]
    burst: float

    def rate(self, at: float) -> float:
        return [rate for start, rate in self.rates if start <= at][-1]

    def last_admitted(self, rows: int) -> float:
        """When the last row gets through for a client that sends each as soon as it may."""
        step, at, used = 0.001, 0.0, 0.0
        while rows > 0:
            size = self.burst * self.rate(at) / self.rates[0][1]
            while rows > 0 and used + 1 <= size + 1e-9:
                used, rows = used + 1, rows - 1
            if rows > 0:
                used, at = max(0.0, used - self.rate(at) * step), at + step
        return at


@dataclasses.dataclass(frozen=True)
class Case:
    """A provider, the rows to ask it, and who asks."""

    name: str
    title: str
    about: str
    scenario: str
    rows: int
    latency_s: float
    line: str
    # What is drawn as the limit; without a bucket it is no limit, but what can be reached.
    limit: Limit
    subjects: tuple[Subject, ...]
    # The most that Tidegate may take, in multiples of the ideal, and the largest share of its calls that may be rejected.
    target: float | None = None
    rejected: float | None = None

    def ideal_s(self) -> float:
        return self.limit.last_admitted(self.rows) + self.latency_s


ROWS = 3000
SILENT = "latency: {fixed: {ms: 100}}\nheaders: none\nretry_after: none\n"
STEADY = Limit(rates=((0.0, 100.0),), burst=100.0)
BUCKET = "limits: [{of: requests, limit: 100, per_s: 1, burst: 100}]\n"
TOLD = "[limits]\nrps = 100\nburst = 100\n"
TIDEGATE = Subject("tidegate", config="")
FIXED = Subject("64 in flight", in_flight=64)
NAIVE = Subject("64 in flight, sleeps 10 s on 429", in_flight=64, sleep=10, rounds=1)
HALVES = Limit(rates=((0.0, 100.0), (15.0, 50.0)), burst=100.0)
# The most in flight with which calls take at most twice as long as alone, and what comes out then.
GPU_BEST = 16 + 500 // 15

CASES = (
    Case(
        name="told",
        title="The limit is stated: 100/s, burst 100",
        about="""3,000 rows, calls of 100 ms, a limit of 100 requests a second that lets 100 at once pass. Tidegate is told so
(`rps = 100`, `burst = 100` under `[limits]`). The fixed client is tuned by hand to it: 100/s × 0.1 s are 10 in flight. The sleeper has
no setting for a rate.""",
        scenario=SILENT + BUCKET,
        rows=ROWS,
        latency_s=0.1,
        line="the limit",
        limit=STEADY,
        subjects=(Subject("tidegate", config=TOLD), Subject("10 in flight", in_flight=10), NAIVE),
        target=1.02,
        rejected=0.0,
    ),
    Case(
        name="untold",
        title="The same limit, told by nobody",
        about="""As before, but no client is told anything, and the provider tells nothing either: no headers, no Retry-After, only
429s.""",
        scenario=SILENT + BUCKET,
        rows=ROWS,
        latency_s=0.1,
        line="the limit",
        limit=STEADY,
        subjects=(TIDEGATE, FIXED, NAIVE),
        target=1.05,
        rejected=0.01,
    ),
    Case(
        name="headers",
        title="The same limit, told by headers",
        about="""No client is told anything, but every reply says what remains (`x-ratelimit-remaining-requests` and its kin), and
429s carry a Retry-After. The simple clients read only the latter, and the sleeper not even that.""",
        scenario="latency: {fixed: {ms: 100}}\n" + BUCKET,
        rows=ROWS,
        latency_s=0.1,
        line="the limit",
        limit=STEADY,
        subjects=(TIDEGATE, FIXED, NAIVE),
        target=1.05,
        rejected=0.01,
    ),
    Case(
        name="window",
        title="A window of a second, told by headers",
        about="""100 requests in each second, counted anew when it is over. Every reply says what remains and when the window ends, and
none says that the limit is meant per second.""",
        scenario="latency: {fixed: {ms: 100}}\nlimits: [{of: requests, limit: 100, per_s: 1, shape: fixed_window}]\n",
        rows=ROWS,
        latency_s=0.1,
        line="the limit",
        # To somebody who fills every window at its beginning it is the same as the bucket.
        limit=STEADY,
        subjects=(TIDEGATE, FIXED, NAIVE),
        target=1.05,
        rejected=0.01,
    ),
    Case(
        name="halves",
        title="The limit halves after 15 s",
        about="""As where nobody tells, and after 15 s the provider lets only half as much pass, burst included.""",
        scenario=SILENT + BUCKET.replace("burst: 100", "burst: 100, changes: [{after_s: 15, factor: 0.5}]"),
        rows=ROWS,
        latency_s=0.1,
        line="the limit",
        limit=HALVES,
        subjects=(TIDEGATE, FIXED, NAIVE),
    ),
    Case(
        name="gpu",
        title="A GPU server that slows down under load",
        about=f"""No limit and no 429: 16 calls at once take 500 ms each, and every further one adds 15 ms to all. With {GPU_BEST} in flight
calls take twice as long as alone; more throughput than that ({GPU_BEST / 0.995:.1f}/s, the ideal here) is there only for those who let them
take longer. Tidegate is told nothing; the fixed clients show three guesses, and sleeping on 429s changes nothing, as there are none.""",
        scenario="latency: {load: {base_ms: 500, per_in_flight_ms: 15, knee: 16}}\nheaders: none\n",
        rows=2500,
        latency_s=0.995,
        line="best rate with calls of at most twice the time",
        limit=Limit(rates=((0.0, GPU_BEST / 0.995),), burst=GPU_BEST),
        subjects=(TIDEGATE, *(Subject(f"{n} in flight", in_flight=n, rounds=1) for n in (8, 64, 256))),
    ),
)
