"""Client of the alert webhook, which is called at least once for each case that opens; the case id shows repeats."""

from __future__ import annotations

from typing import Any

from flaskapp.config import Config
from flaskapp.upstreams.errors import Unavailable
from flaskapp.upstreams.transport.http import HTTP, Outgoing, failure

UPSTREAM = "alert_webhook"
TOTAL_SECONDS = 15.0


class AlertClient:
    def __init__(self, config: Config, http: HTTP) -> None:
        self._url = config.alert_webhook_url
        self._http = http

    def send(self, body: dict[str, Any]) -> None:
        """POST one alert. Raises Throttled for 429, and Unavailable for every other answer that is no 2xx.

        A receiver that is not there or does not let us in may be mended, and then it should have the alert.
        """
        if self._url is None:
            return
        answer = self._http.call(
            Outgoing(UPSTREAM, "send", "POST", self._url, write=False, total_seconds=TOTAL_SECONDS, json=body)
        )
        if not 200 <= answer.status < 300:
            raise failure(Unavailable, UPSTREAM, answer)
