"""The fake Travel Pay API."""

from __future__ import annotations

from sandbox.upstreams.travel_pay_gate import TravelPayGate


class TravelPay(TravelPayGate):
    """As yet the gate alone."""
