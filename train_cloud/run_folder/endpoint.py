"""Where bridges find the receiver: what an instance writes into the endpoint parameter, and a pairing is made of."""

import msgspec


class Endpoint(msgspec.Struct, kw_only=True, frozen=True):
    """Where the receiver of one instance listens; `pin` is its certificate's SHA-256."""

    host: str
    port: int
    pin: str | None
    instance_id: str
    run_id: str
